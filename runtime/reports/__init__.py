"""Reports: table, summary, page, and the corrections that come back."""
