"""From a slide's images to its report: once, or while new images arrive."""
