"""From a checkpoint to a bundle, with a check that it gives the same answers."""
