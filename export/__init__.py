"""From a checkpoint to a bundle, with proof that it still gives the same answers."""
