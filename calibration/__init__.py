"""What a confidence is worth."""

MAX_ERROR = 0.01  # share of the `ok` cells that may be wrong, where nothing else is asked for
