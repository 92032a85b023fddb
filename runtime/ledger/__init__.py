"""The ledger: the result of every image, on the disk."""
