"""Neighbouring fields that overlap: how one lies on the other, and which cells are in both."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..images.resize import Image
from .find import Found

WORK = 32.0  # diameter of a red cell in pixels, where fields are compared
STRIP = 1.5  # width in diameters of the edge strip that is looked for in the other field
MIDDLE = 0.6  # of a side: the strip's length, around the middle, so that fields may be shifted along the side too
TEXTURE = 4.0  # standard deviation in levels: a strip with less shows nothing to compare
ALIKE = 0.85  # correlation of what both fields show; unrelated fields reach 0.75
SAME = 0.3  # distance in diameters of the middles of one cell's boxes in two fields

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Shift:
    """How a field lies on another.

    Attributes:
        x: Where its left side lies in the other one, in pixels.
        y: Where its upper side lies in the other one, in pixels.
        score: Correlation of what both show, up to 1.
    """

    x: int
    y: int
    score: float


@dataclass(frozen=True, eq=False)
class Plane:
    grey: Grey
    scale: float
    diameter: float

    def pack(self) -> bytes:
        import pickle

        return pickle.dumps((self.grey, self.scale, self.diameter))

    @classmethod
    def unpack(cls, data: bytes) -> "Plane":
        import pickle

        return cls(*pickle.loads(data))


def plane_of(image: Image, diameter: float) -> Plane:
    scale = min(1.0, WORK / diameter)
    return Plane(_small(image, scale), scale, diameter)


def shift_between(first: Plane, second: Plane) -> Shift | None:
    """Where a field lies on another one, if they overlap by at least one and a half red cells.

    Args:
        first: RGB, uint8, (H, W, 3).
        second: Another field of the slide, likewise.
        diameter: Of a red cell in pixels.

    Returns:
        None where they do not overlap, or show too little to tell.
    """
    scale, diameter = first.scale, first.diameter
    large, other = first.grey, second.grey
    strip = max(3, round(STRIP * diameter * scale))
    best: Shift | None = None
    for x, y in _places(large, other, strip):
        score = _alike(large, other, x, y)
        if score >= ALIKE and (best is None or score > best.score):
            best = Shift(x, y, score)
    return best and Shift(round(best.x / scale), round(best.y / scale), best.score)


def same_cells(
    first: Sequence[Found],
    second: Sequence[Found],
    shift: Shift,
    first_size: tuple[int, int],
    second_size: tuple[int, int],
    diameter: float,
) -> list[tuple[int, int]]:
    """Which cells are in both of two fields; boxes are compared by what both fields show of them.

    Args:
        first: Cells of the first field.
        second: Cells of the second one.
        shift: Where the second lies on the first.
        first_size: Width and height of the first field in pixels.
        second_size: Width and height of the second one.
        diameter: Of a red cell in pixels.

    Returns:
        Positions in the first and in the second sequence; each cell at most once.
    """
    left, top = max(0, shift.x), max(0, shift.y)
    right = min(first_size[0], shift.x + second_size[0])
    below = min(first_size[1], shift.y + second_size[1])
    pairs = []
    for i, cell in enumerate(first):
        for j, other in enumerate(second):
            one = _shared(cell, 0, 0, (left, top, right, below))
            two = _shared(other, shift.x, shift.y, (left, top, right, below))
            if one and two and (gap := float(np.hypot(one[0] - two[0], one[1] - two[1]))) <= SAME * diameter:
                pairs.append((gap, i, j))
    found: dict[int, int] = {}
    for _, i, j in sorted(pairs):
        if i not in found and j not in found.values():
            found[i] = j
    return sorted(found.items())


def _small(image: Image, scale: float) -> Grey:
    """The green of a field, at the size at which fields are compared."""
    green = cv2.extractChannel(image, 1)
    return np.asarray(cv2.resize(green, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _places(first: Grey, second: Grey, strip: int) -> Iterator[tuple[int, int]]:
    """Where the second field may lie on the first, by a strip along each of its sides."""
    height, width = second.shape
    long_x, long_y = round(width * MIDDLE), round(height * MIDDLE)
    x, y = (width - long_x) // 2, (height - long_y) // 2
    strips = [(0, y, strip, long_y), (width - strip, y, strip, long_y)]
    strips += [(x, 0, long_x, strip), (x, height - strip, long_x, strip)]
    for left, top, wide, high in strips:
        part = second[max(0, top) : top + high, max(0, left) : left + wide]
        fits = 0 < part.shape[0] <= first.shape[0] and 0 < part.shape[1] <= first.shape[1]
        if fits and float(part.std()) >= TEXTURE:
            _, _, _, at = cv2.minMaxLoc(cv2.matchTemplate(first, part, cv2.TM_CCOEFF_NORMED))
            yield int(at[0]) - max(0, left), int(at[1]) - max(0, top)


def _alike(first: Grey, second: Grey, x: int, y: int) -> float:
    """Correlation of what two fields show, where the second lies on the first."""
    left, top = max(0, x), max(0, y)
    right, below = min(first.shape[1], x + second.shape[1]), min(first.shape[0], y + second.shape[0])
    one = first[top:below, left:right].astype(np.float32)
    two = second[top - y : below - y, left - x : right - x].astype(np.float32)
    if not one.size or min(float(one.std()), float(two.std())) < TEXTURE:
        return 0.0
    return float(((one - one.mean()) * (two - two.mean())).mean() / (one.std() * two.std()))


def _shared(cell: Found, x: int, y: int, area: tuple[int, int, int, int]) -> tuple[float, float] | None:
    """Middle of what both fields show of a cell, in the first one's pixels; None where that is nothing."""
    left, right = max(area[0], cell.x + x), min(area[2], cell.x + cell.w + x)
    top, below = max(area[1], cell.y + y), min(area[3], cell.y + cell.h + y)
    return ((left + right) / 2, (top + below) / 2) if left < right and top < below else None
