"""Cells that touch: cut apart where their common outline has a waist between two nuclei."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .nuclei import Mask, Part, disk, red_cell_area, trimmed

BLUR = 0.06  # sigma of the distance to the rim, in diameters of a red cell
CORE = 0.18  # least distance of a lobe's middle to its rim
PEAK = 0.30  # radius in which a lobe's middle is the farthest from the rim
FILLED = 0.25  # radius: narrower bays in an outline are filled before its waist is measured
SMALL = 0.30  # area of a red cell's: a smaller nucleus is not cut off
TWO = 2.5  # area of a red cell's: a smaller outline is the nucleus of one, whose cytoplasm is too pale to be seen
APART = 1.1  # distance in diameters of two nuclei that may be cut apart; lobes of one are closer
WAIST = 0.80  # of the narrower cell's width: a narrower waist lies between two cells
DENTED = 0.92  # share of its convex hull: an outline that fills more of it is one cell's
FAR = 1.3  # distance in diameters of two nuclei, or sets of lobes, that are hardly one cell's
MANY = 40  # lobes: a clump with more is not cut apart, since that would take too long
LONG = 2.5  # diameters: no usual nucleus is longer

Vector = npt.NDArray[np.float64]
Lobe = tuple[float, Vector]  # weight, and middle: x and y in the field


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell in the pixels of a field.

    Attributes:
        nucleus: Its nucleus.
        body: Nucleus and cytoplasm.
        joined: Whether it may be two cells that could not be cut apart.
    """

    nucleus: Part
    body: Part
    joined: bool = False


def split(nucleus: Part, body: Part, diameter: float) -> list[Cell]:
    """Cut cells apart that touch.

    Args:
        nucleus: Nuclei that hang together, or whose gap is as narrow as one between lobes.
        body: These and the cytoplasm.
        diameter: Of a red cell in pixels.

    Returns:
        One cell, or as many as there are waists and one more.
    """
    long = max(nucleus.mask.shape) > LONG * diameter
    lobes = _lobes(nucleus, diameter)
    if not 2 <= len(lobes) <= MANY:
        return [Cell(nucleus, body, long)]
    first, second = _middles(lobes)
    distance = float(np.hypot(*(second - first)))
    outline = _filled(body, diameter)
    waist, at = _waist(outline, first, second)
    halves = [_halves(part, first, second, at) for part in (nucleus, body)]
    area = red_cell_area(diameter)
    apart = (
        distance > APART * diameter
        and waist < WAIST
        and _convexity(outline) < DENTED
        and all(np.count_nonzero(half.mask) > SMALL * area for half in halves[0])
    )
    if apart and np.count_nonzero(body.mask) > TWO * area:
        return [cell for own, around in zip(*halves, strict=True) for cell in split(own, around, diameter)]
    joined = apart or distance > FAR * diameter or long
    return [Cell(nucleus, body, joined)]


def _lobes(nucleus: Part, diameter: float) -> list[Lobe]:
    """Lobes of nuclei: where the rim is far away."""
    rim = cv2.distanceTransform(np.pad(nucleus.mask, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    depth = cv2.GaussianBlur(rim, (0, 0), BLUR * diameter)
    y, x = np.nonzero((depth == cv2.dilate(depth, disk(PEAK * diameter))) & (depth > CORE * diameter))
    middles = np.stack([x + nucleus.x, y + nucleus.y], axis=1).astype(float)
    return list(zip((depth[y, x].astype(float) ** 2).tolist(), middles, strict=True))


def _middles(lobes: list[Lobe]) -> tuple[Vector, Vector]:
    """Middles of two sets of lobes, after those that are closest to each other are joined."""
    sets = list(lobes)
    while len(sets) > 2:
        gaps = {(i, j): np.hypot(*(sets[i][1] - sets[j][1])) for j in range(len(sets)) for i in range(j)}
        i, j = min(gaps, key=lambda pair: gaps[pair])
        (first, at), (second, beside) = sets[i], sets.pop(j)
        sets[i] = first + second, (first * at + second * beside) / (first + second)
    return sets[0][1], sets[1][1]


def _filled(body: Part, diameter: float) -> Part:
    """An outline without narrow bays."""
    kernel = disk(FILLED * diameter)
    around = len(kernel)
    closed = cv2.morphologyEx(np.pad(body.mask, around), cv2.MORPH_CLOSE, kernel)
    return Part(body.x - around, body.y - around, np.asarray(closed, np.uint8))


def _along(part: Part, first: Vector, second: Vector) -> tuple[Vector, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where pixels lie on the way from one point to another: 0 is half way; and their rows and columns."""
    rows, columns = np.nonzero(part.mask)
    way = (second - first) / np.hypot(*(second - first))
    middle = (first + second) / 2
    return (columns + part.x - middle[0]) * way[0] + (rows + part.y - middle[1]) * way[1], rows, columns


def _waist(outline: Part, first: Vector, second: Vector) -> tuple[float, float]:
    """The narrowest width between two middles as a share of the narrower cell's, and where it lies on the way."""
    along, _, _ = _along(outline, first, second)
    distance = float(np.hypot(*(second - first)))
    steps = np.linspace(-0.75, 0.75, 31)  # of the way; the middles lie at −0.5 and 0.5
    positions = np.sort(along)
    after, before = (np.searchsorted(positions, steps * distance + side) for side in (1, -1))
    widths = (after - before) / 2
    between = widths[9:22]
    narrowest = int(between.argmin())
    narrower = max(1.0, min(float(widths[:12].max()), float(widths[19:].max())))
    return float(between[narrowest]) / narrower, float(steps[9 + narrowest]) * distance


def _halves(part: Part, first: Vector, second: Vector, at: float) -> tuple[Part, Part]:
    """Pixels on the first and on the second side of a line across the way from one point to another."""
    along, rows, columns = _along(part, first, second)
    sides: list[Mask] = []
    for chosen in (along < at, along >= at):
        mask = np.zeros_like(part.mask)
        mask[rows[chosen], columns[chosen]] = 1
        sides.append(mask)
    return trimmed(Part(part.x, part.y, sides[0])), trimmed(Part(part.x, part.y, sides[1]))


def _convexity(outline: Part) -> float:
    """Share of an outline's convex hull that it fills."""
    rims, _ = cv2.findContours(outline.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.fillConvexPoly(np.zeros_like(outline.mask), cv2.convexHull(np.concatenate(rims)), 1)
    return float(np.count_nonzero(outline.mask)) / float(np.count_nonzero(hull))
