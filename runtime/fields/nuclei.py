"""Nuclei in a field: what is purple, as one mask for each nucleus, with all its lobes.

Lengths are in diameters of a red cell, areas in areas of one, so that nothing depends on the magnification.
"""

from dataclasses import dataclass
from math import pi

import cv2
import numpy as np
import numpy.typing as npt

from .stain import Stain

Mask = npt.NDArray[np.uint8]

SPECK = 0.03  # radius: thinner purple is taken away
CLOSED = 0.10  # radius: narrower gaps in a nucleus are filled
LOBE = 0.10  # area: smaller parts are no lobes, and join nothing
GAP = 0.44  # widest gap between the lobes of one nucleus
BORDER = 8  # pixels that are added around a field while gaps are filled


@dataclass(frozen=True, eq=False)
class Part:
    """Pixels of a field: a mask of zeros and ones, uint8, (h, w), whose corner lies at x and y."""

    x: int
    y: int
    mask: Mask

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the field that the mask covers."""
        return slice(self.y, self.y + self.mask.shape[0]), slice(self.x, self.x + self.mask.shape[1])


def disk(radius: float) -> Mask:
    """A disk for morphology, of at least one pixel around its middle."""
    r = max(1, round(radius))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)), np.uint8)


def red_cell_area(diameter: float) -> float:
    """Area of a red cell in pixels."""
    return pi / 4 * diameter**2


def purple(stain: Stain, diameter: float) -> Mask:
    """Pixels of nuclei and of what is as purple, zeros and ones, (H, W)."""
    found = (stain.purple > stain.nucleus).view(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, disk(SPECK * diameter))
    wide = cv2.copyMakeBorder(found, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, disk(CLOSED * diameter))
    return np.asarray(closed[BORDER:-BORDER, BORDER:-BORDER], np.uint8)


def nuclei(found: Mask, diameter: float) -> list[Part]:
    """Nuclei, with the lobes of each together; those of cells that touch are still one.

    Args:
        found: Purple pixels, zeros and ones, (H, W).
        diameter: Of a red cell in pixels.
    """
    _, labels, sizes, _ = cv2.connectedComponentsWithStats(found)
    large = sizes[:, cv2.CC_STAT_AREA] > LOBE * red_cell_area(diameter)
    large[0] = False
    lobes = large[np.asarray(labels, np.intp)].astype(np.uint8)
    count, groups, boxes, _ = cv2.connectedComponentsWithStats(cv2.dilate(lobes, disk(GAP / 2 * diameter)))
    parts = []
    for group in range(1, count):
        x, y, width, height = (int(side) for side in boxes[group, :4])
        rows, columns = slice(y, y + height), slice(x, x + width)
        parts.append(trimmed(Part(x, y, (groups[rows, columns] == group) * lobes[rows, columns])))
    return parts


def trimmed(part: Part) -> Part:
    """The same pixels, with a mask that is no larger than they need."""
    x, y, width, height = cv2.boundingRect(part.mask)
    return Part(part.x + x, part.y + y, part.mask[y : y + height, x : x + width])
