"""The ledger: what became of every image, on the disk."""
