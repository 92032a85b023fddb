"""The networks: the paper's model, its ablations and comparisons, and the members of an ensemble."""
