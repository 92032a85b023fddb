"""Pictures of another laboratory, made more like those of home before the model sees them: size and colours.

Only the model gets the adjusted picture; quality, stain and thumbnail are of the picture as it is.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from .resize import Image

LEAST, MOST = 0.25, 4.0  # scale
DENSITIES = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)  # optical densities of the values of a pixel

Row = tuple[float, float, float]


class Adjustment(Struct, frozen=True):
    """How each picture is changed for the model.

    Attributes:
        scale: By how much it is enlarged about its centre; below 1 it is shrunk.
        stain: Matrix that its optical densities (red, green, blue) are multiplied by; None where colours stay.
    """

    scale: float = 1.0
    stain: tuple[Row, Row, Row] | None = None

    def __post_init__(self) -> None:
        if not LEAST <= self.scale <= MOST:
            raise ValueError(f"the scale of pictures must be from {LEAST} to {MOST}, and is {self.scale}")
        if self.stain is not None and not all(math.isfinite(value) for row in self.stain for value in row):
            raise ValueError("the map of colours must be of finite numbers")

    @property
    def sentence(self) -> str:
        """What it does, for people."""
        size = f"enlarged {self.scale:.2f} times" if self.scale >= 1 else f"shrunk to {self.scale:.0%}"
        parts = [f"pictures {size}"] * (self.scale != 1) + ["colours mapped to home's"] * (self.stain is not None)
        return "; ".join(parts)


def adjust(image: Image, adjustment: Adjustment) -> Image:
    """Adjust a picture.

    Args:
        image: At the size of the graph's input, RGB, uint8, (H, W, 3).
        adjustment: What to change.

    Returns:
        RGB, uint8, of the same size. Where it was shrunk, the median colour of its border lies around it.
    """
    if adjustment.stain is not None:
        mapped = cv2.transform(optical_densities(image), np.array(adjustment.stain, np.float32))
        image = np.rint(256 * np.exp(-mapped) - 1).clip(0, 255).astype(np.uint8)
    return _enlarged(image, adjustment.scale) if adjustment.scale >= 1 else _shrunk(image, adjustment.scale)


def optical_densities(image: Image) -> npt.NDArray[np.float32]:
    """−log((v + 1) / 256) of each value v, float32, of the same shape (H, W, 3)."""
    return np.asarray(cv2.LUT(image, DENSITIES), np.float32)


def maps_of_picture(maps: npt.NDArray[np.float32], scale: float) -> npt.NDArray[np.float32]:
    """Heat maps of an adjusted picture, as heat maps of the picture itself.

    Each value is the mean of the map where that part of the picture was shown to the model, and 0 where it was not.

    Args:
        maps: float32, (K, h, w).
        scale: Of the adjustment.

    Returns:
        float32, (K, h, w).
    """
    if scale == 1:
        return maps
    down, across = (_parts_shown(count, scale) for count in maps.shape[1:])
    return down @ maps @ across.T


def box_of_picture(box: npt.NDArray[np.float32], scale: float) -> npt.NDArray[np.float32]:
    """A box in an adjusted picture, as a box in the picture itself, of which it may show more or less.

    Args:
        box: Upper left corner, width and height, in shares of the picture, float32, (4,).
        scale: Of the adjustment.

    Returns:
        Likewise, within the picture.
    """
    low, high = ((corner - 0.5) / np.float32(scale) + 0.5 for corner in (box[:2], box[:2] + box[2:]))
    low, high = low.clip(0, 1), high.clip(0, 1)
    return np.concatenate([low, high - low])


def _parts_shown(count: int, scale: float) -> npt.NDArray[np.float32]:
    """How much of each of `count` strips of a picture each strip of the adjusted one shows, (count, count)."""
    edges = (np.arange(count + 1) - count / 2) * scale + count / 2  # of the picture's, in strips of the adjusted one
    strips = np.arange(count)
    covered = np.minimum(edges[1:, None], strips + 1) - np.maximum(edges[:-1, None], strips)
    return (covered.clip(0) / scale).astype(np.float32)


def _enlarged(image: Image, scale: float) -> Image:
    if scale == 1:
        return image
    height, width = image.shape[:2]
    shift = (1 - scale) * (np.array([width, height]) - 1) / 2  # the centre stays
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def _shrunk(image: Image, scale: float) -> Image:
    height, width = image.shape[:2]
    down, across = (round(side * (1 - scale) / 2) for side in (height, width))  # on each side, so the centre stays
    small = cv2.resize(image, (width - 2 * across, height - 2 * down), interpolation=cv2.INTER_AREA)
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    around = np.median(border, 0).tolist()
    return np.asarray(
        cv2.copyMakeBorder(small, down, down, across, across, cv2.BORDER_CONSTANT, value=around), np.uint8
    )
