"""Neighbouring fields that overlap: how one lies on the other, and which cells are in both."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import atanh, sqrt

import cv2
import numpy as np
import numpy.typing as npt

from .find import Found
from .plane import WORK, Plane

NARROWEST = 0.75  # width and height in diameters of what both fields show, at least
ALIKE = 0.7  # correlation of the detail that both fields show, at least
EVIDENCE = 1.9  # atanh(correlation) · √(area in squared diameters); unrelated fields reach 1.6
SAME = 0.3  # distance in diameters of the middles of one cell's boxes in two fields

Floats = npt.NDArray[np.float32]


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


def shift_between(first: Plane, second: Plane) -> Shift | None:
    """Where a field lies on another one.

    They must share at least three quarters of a red cell's diameter in width and in height, and more where they are
    less alike: 1.5 squared diameters at a correlation of 0.92, 5 at 0.7.

    Args:
        first: Plane of a field.
        second: Of another field of the slide, at the same scale. The fields may differ in size.

    Returns:
        None where they do not overlap, or show too little to tell.

    Raises:
        ValueError: The scales differ.
    """
    if first.scale != second.scale:
        raise ValueError("the fields were made small by different scales: use one diameter for all")
    if (place := _place(first, second)) is None:
        return None
    x, y, part = place
    one, two = _shared_detail(first, second, x, y, part)
    score = _correlation(one, two)
    if score < ALIKE or atanh(min(score, 0.9999)) * sqrt(one.size) / WORK < EVIDENCE:
        return None
    return Shift(round((x + part[0]) / first.scale), round((y + part[1]) / first.scale), score)


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
    area = left, top, right, below
    ones, others = _middles(first, 0, 0, area), _middles(second, shift.x, shift.y, area)
    places, middles = list(others), np.array(list(others.values()), np.float64).reshape(-1, 2)
    pairs: list[tuple[float, int, int]] = []
    for i, middle in ones.items():
        gaps = np.hypot(*(middles - middle).T)
        pairs += [(float(gaps[at]), i, places[at]) for at in np.flatnonzero(gaps <= SAME * diameter)]
    found: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in sorted(pairs):
        if i not in found and j not in taken:
            found[i] = j
            taken.add(j)
    return sorted(found.items())


def _place(first: Plane, second: Plane) -> tuple[int, int, tuple[float, float]] | None:
    """Where the second plane lies on the first, if they overlap: x and y in pixels, and parts of a pixel."""
    (high, wide), (other_high, other_wide) = first.pixels.shape, second.pixels.shape
    size = cv2.getOptimalDFTSize(wide + other_wide), cv2.getOptimalDFTSize(high + other_high)
    product = cv2.mulSpectrums(_spectrum(first, size), _spectrum(second, size), 0, conjB=True)
    weight = _weight((wide, high), (other_wide, other_high), size)
    likely = cv2.multiply(cv2.idft(product, flags=cv2.DFT_REAL_OUTPUT), weight)
    _, most, _, (x, y) = cv2.minMaxLoc(likely)
    if most <= 0:
        return None
    across, down = (x - 1, x, (x + 1) % size[0]), (y - 1, y, (y + 1) % size[1])
    part = _vertex(*(float(likely[y, i]) for i in across)), _vertex(*(float(likely[i, x]) for i in down))
    return x if x < wide else x - size[0], y if y < high else y - size[1], part


@lru_cache(maxsize=2)  # one plane is compared with many
def _spectrum(plane: Plane, size: tuple[int, int]) -> Floats:
    """Packed spectrum of a plane's detail, with zeros around it: of that width and height."""
    high, wide = plane.pixels.shape
    padded = np.zeros((size[1], size[0]), np.float32)
    padded[:high, :wide] = plane.detail
    return np.asarray(cv2.dft(padded, nonzeroRows=high), np.float32)


@lru_cache(maxsize=4)
def _weight(first: tuple[int, int], second: tuple[int, int], size: tuple[int, int]) -> Floats:
    """For each place 1 / √(pixels that both planes show): what unrelated ones have in common grows like the root."""
    shared: list[Floats] = []
    for one, two, whole in zip(first, second, size, strict=True):
        at = np.arange(whole)
        at = np.where(at < one, at, at - whole)
        length = np.minimum(one, at + two) - np.maximum(0, at)
        shared.append(np.where(length >= NARROWEST * WORK, 1 / np.sqrt(np.maximum(length, 1)), 0).astype(np.float32))
    return np.outer(shared[1], shared[0])


def _vertex(before: float, middle: float, after: float) -> float:
    """Where a parabola through three values has its highest point, from the middle one."""
    bend = before - 2 * middle + after
    return min(0.5, max(-0.5, (before - after) / (2 * bend))) if bend < 0 else 0.0


def _shared_detail(first: Plane, second: Plane, x: int, y: int, part: tuple[float, float]) -> tuple[Floats, Floats]:
    """The detail of both planes where they overlap, the second's moved by a part of a pixel."""
    (high, wide), (other_high, other_wide) = first.pixels.shape, second.pixels.shape
    left, top, right, below = max(0, x), max(0, y), min(wide, x + other_wide), min(high, y + other_high)
    one = first.detail[top:below, left:right].astype(np.float32)
    two = second.detail[top - y : below - y, left - x : right - x].astype(np.float32)
    move = np.array([[1, 0, part[0]], [0, 1, part[1]]], np.float32)
    size = right - left, below - top
    moved = cv2.warpAffine(two, move, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return one, np.asarray(moved, np.float32)


def _correlation(one: Floats, two: Floats) -> float:
    """Of two planes of one size; 0 where one of them is even."""
    spread = float(one.std()) * float(two.std())
    return float(((one - one.mean()) * (two - two.mean())).mean()) / spread if spread else 0.0


def _middles(cells: Sequence[Found], x: int, y: int, area: tuple[int, int, int, int]) -> dict[int, tuple[float, float]]:
    """Middles of what both fields show of cells, in the first one's pixels, by place; without those of nothing."""
    middles: dict[int, tuple[float, float]] = {}
    for place, cell in enumerate(cells):
        left, right = max(area[0], cell.x + x), min(area[2], cell.x + cell.w + x)
        top, below = max(area[1], cell.y + y), min(area[3], cell.y + cell.h + y)
        if left < right and top < below:
            middles[place] = (left + right) / 2, (top + below) / 2
    return middles
