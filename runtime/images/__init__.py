"""From a path to pixels: find, decode, measure and resize images, and draw thumbnails."""
