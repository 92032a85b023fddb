"""A crop of one cell out of its field, at the magnification of the training cells."""

from math import floor

import numpy as np

from ..images.resize import Image, stretch
from .find import Found
from .stain import Color


def cut(
    image: Image,
    cell: Found,
    diameter: float,
    empty: Color,
    home_diameter: float,
    width: int,
    height: int,
) -> Image:
    """Cut a cell out, with what lies around it, so that red cells are as large as in the training cells.

    Args:
        image: The field: RGB, uint8, (H, W, 3).
        cell: The cell; the middle of its box becomes that of the crop.
        diameter: Of a red cell in the field, in pixels.
        empty: Colour of the empty slide, for what lies beyond the field's border.
        home_diameter: Of a red cell in the training cells, in pixels of a crop.
        width: Width of the crop in pixels: the graph's input.
        height: Height of the crop in pixels.

    Returns:
        RGB, uint8, (height, width, 3).
    """
    left, top, wide, high = window(cell, diameter, home_diameter, width, height)
    inside = image[max(0, top) : max(0, top + high), max(0, left) : max(0, left + wide)]
    crop = np.empty((high, wide, 3), np.uint8)
    crop[:] = np.rint(empty).astype(np.uint8)
    y, x = max(0, -top), max(0, -left)
    crop[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return stretch(crop, width, height)


def window(cell: Found, diameter: float, home_diameter: float, width: int, height: int) -> tuple[int, int, int, int]:
    """What `cut` takes of a field for the same arguments: left and upper side, width and height, in its pixels.

    It may reach beyond the field's border.
    """
    scale = home_diameter / diameter
    wide, high = max(1, round(width / scale)), max(1, round(height / scale))
    middle_x, middle_y = cell.middle
    return floor(middle_x - wide / 2), floor(middle_y - high / 2), wide, high
