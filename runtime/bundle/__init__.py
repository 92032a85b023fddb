"""The bundle: a model with its metadata and its calibration, and the review reasons."""
