"""What runs a bundle's graph, and what its answers mean."""
