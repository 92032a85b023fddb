"""The station: a local web page to review at, beside a watch or a batch that may run."""
