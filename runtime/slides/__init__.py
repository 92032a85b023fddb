"""A slide's way from its images to its report: once, or while it grows."""
