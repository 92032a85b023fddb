"""How large a red cell is in a field, in pixels: the unit of every other length.

Edges vote for the centre of the circle that they may belong to: along their gradient towards the darker side, at the
distance of a radius, for each of many radii (Hough). Votes towards the brighter side are what chance alone gives.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import ScaleError
from ..images.resize import Image

RED_CELL_UM = 7.5
"""Mean diameter of a red cell on a dried, stained smear in µm; 6.0 to 8.5 in health (Dacie and Lewis)."""
NO_SCALE = "no red cells found to take the scale from: give it with --mpp, in µm per pixel"

LONGEST = 480  # pixels of a picture's longer side, at which it is searched
SHORTEST = 24  # pixels of its shorter side: less shows no circle
SMALLEST, LARGEST = 0.03, 0.30  # diameters that are tried, as shares of the longer side
STEPS = 28  # diameters that are tried
LEVELS = (1, 2, 4)  # a wide field is searched whole, and by five tiles with a half and a quarter of its sides
SMOOTHING = 1.2  # sigma in pixels
EDGES = 92  # percentile of the gradients, of which two shares are the limits of an edge
WEAK, STRONG = 0.35, 0.80  # these shares
CELL = 0.14  # side of the cells in which votes are counted, in radii
ROUND = 0.3  # share of a circle's edge that must vote for its centre
EXPONENT = 1.5  # of the diameter: how much more a large circle counts than a small one
CHANCE = 2.0  # how many times what chance gives the votes must be
ENOUGH = 0.5  # least sum of squared shares of circles: two halves of a circle

Plane = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Edges:
    """Edges of a picture: where they are, and the unit vector towards their darker side, (N,) each."""

    x: Values
    y: Values
    to_x: Values
    to_y: Values
    width: int
    height: int


def red_cell_diameter(image: Image) -> float | None:
    """Diameter of a red cell in pixels, within about 13 %; None where no red cells are seen.

    Args:
        image: RGB, uint8, (H, W, 3).
    """
    best, diameter = 0.0, None
    for level in LEVELS:
        if level > 1 and max(image.shape[:2]) < level * LONGEST:
            break
        found = [circles for tile in _tiles(image, level) if (circles := _circles(tile)) is not None]
        if len(found) * 2 > (1 if level == 1 else 5) and (score := median(score for score, _ in found)) > best:
            best, diameter = score, median(own for _, own in found)
    return diameter


def slide_diameter(diameters: Sequence[float | None]) -> float:
    """Diameter of a red cell on a slide: the median of its fields'.

    Raises:
        ScaleError: No field shows red cells.
    """
    known = [diameter for diameter in diameters if diameter is not None]
    if not known:
        raise ScaleError(NO_SCALE)
    return median(known)


def diameter_of(mpp: float) -> float:
    """Diameter of a red cell in pixels, at a scale in µm per pixel."""
    return RED_CELL_UM / mpp


def mpp_of(diameter: float) -> float:
    """Scale in µm per pixel, by the diameter of a red cell in pixels."""
    return RED_CELL_UM / diameter


def _tiles(image: Image, level: int) -> Iterator[Image]:
    """The picture, or five parts of it: the corners and the middle."""
    height, width = (max(1, side // level) for side in image.shape[:2])
    below, right = image.shape[0] - height, image.shape[1] - width
    corners = [(0, 0), (0, right), (below, 0), (below, right), (below // 2, right // 2)]
    for y, x in corners if level > 1 else corners[:1]:
        yield image[y : y + height, x : x + width]


def _circles(image: Image) -> tuple[float, float] | None:
    """How well circles of one size explain the edges, per area, and their diameter in pixels; None if they do not."""
    scale = min(1.0, LONGEST / max(image.shape[:2]))
    if min(image.shape[:2]) * scale < SHORTEST:
        return None
    edges = _edges(np.asarray(cv2.extractChannel(image, 1), np.uint8), scale)
    diameters = np.geomspace(SMALLEST, LARGEST, STEPS) * max(edges.width, edges.height)
    darker = np.array([_votes(edges, diameter / 2) for diameter in diameters])
    brighter = np.array([_votes(edges, -diameter / 2) for diameter in diameters])
    scores = (darker - brighter) * diameters**EXPONENT
    best = int(scores.argmax())
    inverted = (brighter * diameters**EXPONENT).max() > (darker * diameters**EXPONENT).max()
    if inverted or darker[best] < max(ENOUGH, CHANCE * brighter[best]):
        return None
    diameter = float(diameters[best] * (diameters[1] / diameters[0]) ** _vertex(scores, best))
    return float(scores[best]) * scale**0.5 / (edges.width * edges.height), diameter / scale


def _edges(green: npt.NDArray[np.uint8], scale: float) -> _Edges:
    """Edges of a picture that is made smaller."""
    small = cv2.resize(green, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else green
    small = cv2.GaussianBlur(small, (0, 0), SMOOTHING)
    across, down = cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1)
    steepness = cv2.magnitude(across, down)
    top = float(np.percentile(steepness, EDGES))
    y, x = np.nonzero(cv2.Canny(small, top * WEAK, top * STRONG))
    length = steepness[y, x].astype(float) + 1e-6
    height, width = small.shape[:2]
    return _Edges(x.astype(float), y.astype(float), -across[y, x] / length, -down[y, x] / length, width, height)


def _votes(edges: _Edges, radius: float) -> float:
    """Sum over the circles of a radius of the square of the share of their edge that is there.

    Args:
        edges: Edges of a picture.
        radius: In pixels; negative to look towards the brighter side.
    """
    cell = max(1.0, abs(radius) * CELL)
    width, height = int(edges.width / cell) + 1, int(edges.height / cell) + 1
    x = np.floor((edges.x + edges.to_x * radius) / cell).astype(np.intp)
    y = np.floor((edges.y + edges.to_y * radius) / cell).astype(np.intp)
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    counts = np.bincount(y[inside] * width + x[inside], minlength=width * height).reshape(height, width)
    near = cv2.boxFilter(counts.astype(np.float32), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    shares = np.asarray(near, np.float32) / (2 * np.pi * abs(radius))
    centres = (shares == cv2.dilate(shares, np.ones((7, 7), np.uint8))) & (shares > ROUND)
    return float((np.minimum(shares[centres], 1) ** 2).sum())


def _vertex(values: Values, best: int) -> float:
    """Where the parabola through a maximum and its neighbours is highest, −0.5 to 0.5 steps from the maximum."""
    if not 0 < best < len(values) - 1:
        return 0.0
    before, at, after = values[best - 1 : best + 2].tolist()
    bend = before - 2 * at + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0
