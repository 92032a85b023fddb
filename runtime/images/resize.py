"""From a decoded image to the graph's input: one function, used by training, calibration and every backend."""

import re

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

PREPROCESSING = "stretch-area-linear-1"  # another number for other pixels: what was made with others is refused


def stretch(image: Image, width: int, height: int) -> Image:
    """Resize an image to the graph's input size, without keeping its aspect ratio.

    INTER_AREA where an axis shrinks (OpenCV averages areas where both do), else INTER_LINEAR.

    Args:
        image: RGB, uint8, (H, W, 3).
        width: Width of the graph's input in pixels.
        height: Height of the graph's input in pixels.

    Returns:
        RGB, uint8, (height, width, 3), C-contiguous.
    """
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    shrinks = image.shape[0] > height or image.shape[1] > width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)


def parse_size(text: str) -> tuple[int, int]:
    """Read a size written WIDTHxHEIGHT, or one number for a square.

    Returns:
        Width and height in pixels.

    Raises:
        ValueError: The text is not a size, or a side is shorter than 32 pixels.
    """
    sides = re.fullmatch(r"([0-9]+)(?:x([0-9]+))?", text.lower())
    if not sides:
        raise ValueError(f"{text!r} is not a size: write WIDTHxHEIGHT, such as 360x363, or one number for a square")
    size = int(sides[1]), int(sides[2] or sides[1])
    if min(size) < 32:
        raise ValueError(f"{text!r} is too small: the model needs at least 32x32 pixels")
    return size
