"""From a path to pixels: find, decode, check and resize images, and draw thumbnails."""
