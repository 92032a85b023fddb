"""The edge: decode, classify, explain and report cells on a machine that has no PyTorch."""
