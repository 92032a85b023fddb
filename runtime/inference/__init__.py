"""Backends that run a bundle's graph, and the interpretation of their outputs."""
