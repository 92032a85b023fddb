"""The bundle: a model with all that is known of it, and what follows for one cell."""
