"""What a confidence is worth: metrics of labelled cells, in numpy alone."""
