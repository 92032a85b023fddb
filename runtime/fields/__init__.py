"""From a whole field to its cells: the scale, where white cells lie, and crops as the graph takes them."""
