"""What is stained how, in a field: the empty slide's colour, and how purple each pixel is.

Optical density is −ln of a pixel over the empty slide. Purple is the density of green less that of blue: nuclei take up
green and let blue pass, red cells take up both. No white balance changes it, since that scales pixel and slide alike.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ..images.resize import Image

Plane = npt.NDArray[np.float32]
Color = tuple[float, float, float]

WHITE: Color = (255.0, 255.0, 255.0)
SMOOTHING = 1.5  # sigma in pixels, before the empty slide's colour is taken
BAND = 6  # levels of green around that of the empty slide that count as it
OFTEN = 0.2  # of the highest frequency among bright pixels: the brightest mode that reaches it is the empty slide's
FINE = 0.04  # sigma in diameters: granules and noise below it do not count
DARK = 2.0  # levels added to pixel and slide: a black pixel has a finite density
STAINED = 0.08  # density of green above which a pixel is not empty slide
HALF = 0.5  # of the median density of what is stained: the rims of cells are left out
MODE = 0.4  # of the highest frequency: the first mode from the left that reaches it is that of the red cells
MOST = 0.30  # purple that red cells never exceed, where a field holds hardly any
SPREAD = 1.4826  # of a normal distribution, from the median of the deviations
LEAST = 0.25  # purple that a nucleus has more than red cells
SPREADS = 5.0  # of the red cells' purple, that a nucleus is above them
PART = 0.38  # of the way from red cells to the most purple nuclei
NUCLEI = 90  # percentile of purple among what is above the red cells: that of the nuclei
FEW = 20.0  # pixels that must be above the red cells, before they tell how purple nuclei are


class Limits(NamedTuple):
    """What purple tells nuclei from red cells.

    Attributes:
        red_cells: Purple of the red cells.
        nucleus: Purple above which a pixel is nucleus.
    """

    red_cells: float
    nucleus: float


@dataclass(frozen=True, eq=False)
class Stain:
    """The stain of a field.

    Attributes:
        density: Optical density of green, float32, (H, W).
        purple: Of each pixel, a difference of optical densities, float32, (H, W).
        red_cells: Purple of the red cells.
        nucleus: Purple above which a pixel is nucleus.
    """

    density: Plane
    purple: Plane
    red_cells: float
    nucleus: float


def background(image: Image) -> Color:
    """Colour of the empty slide: the brightest green that is frequent, and what goes with it.

    Args:
        image: RGB, uint8, (H, W, 3).

    Returns:
        Red, green and blue, 0 to 255; white where no pixel is bright.
    """
    return background_of(smoothed(image))


def smoothed(image: Image) -> Image:
    """A picture in which single pixels do not tell the empty slide's colour."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), SMOOTHING), np.uint8)


def background_of(smooth: Image) -> Color:
    """As `background`, of pixels that are smoothed, in any order."""
    green = np.asarray(cv2.extractChannel(smooth, 1), np.uint8)
    limit, _ = cv2.threshold(green, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    counts = np.bincount(green.ravel(), minlength=256).astype(float)
    counts[: int(limit) + 1] = 0
    most = int(_modes(np.convolve(counts, np.ones(7), "same"), OFTEN)[-1])
    empty = (green > limit) & (green >= most - BAND) & (green <= most + BAND)
    if not empty.any():
        return WHITE
    red, green, blue = np.median(smooth[empty], axis=0).tolist()
    return red, green, blue


def _modes(frequencies: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.intp]:
    """Where frequencies have maxima of at least a share of the highest."""
    around = np.pad(frequencies, 1)
    highest = (frequencies >= around[:-2]) & (frequencies >= around[2:])
    return np.flatnonzero(highest & (frequencies >= share * frequencies.max()))


def stain_of(image: Image, diameter: float, empty: Color, limits: Limits | None = None) -> Stain:
    """Measure how purple a field is, and from where on it is nucleus.

    Args:
        image: RGB, uint8, (H, W, 3).
        diameter: Of a red cell in pixels.
        empty: Colour of the empty slide.
        limits: Of the picture that the field is a part of; the field's own where there are none.
    """
    green, purple = _densities(without_detail(image, diameter), empty)
    red_cells, nucleus = limits or _limits(green, purple)
    return Stain(green, purple, red_cells, nucleus)


def without_detail(image: Image, diameter: float) -> Image:
    """A picture without detail finer than a cell's."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), FINE * diameter), np.uint8)


def limits_of(coarse: Image, empty: Color) -> Limits:
    """Purple of the red cells, and that above which a pixel is nucleus, of pixels without detail, in any order."""
    return _limits(*_densities(coarse, empty))


def _limits(green: Plane, purple: Plane) -> Limits:
    stained = green > STAINED
    if stained.any():
        stained = green > max(STAINED, HALF * float(np.median(green[stained])))
    chosen = purple[stained] if np.count_nonzero(stained) > FEW else purple.ravel()
    mode, spread = _red_cells(chosen)
    return Limits(mode, _limit(purple, mode, spread))


def _densities(coarse: Image, empty: Color) -> tuple[Plane, Plane]:
    """Optical density of green, and that less the one of blue."""
    green, blue = (_density(coarse, channel, empty) for channel in (1, 2))
    return green, green - blue


def _density(coarse: Image, channel: int, empty: Color) -> Plane:
    plane = cv2.extractChannel(coarse, channel).astype(np.float32)
    return np.asarray(np.log(empty[channel] + DARK) - cv2.log(plane + np.float32(DARK)), np.float32)


def _red_cells(purple: Plane) -> tuple[float, float]:
    """Purple of the red cells, and its spread: their first mode, and what lies to the left of it."""
    low, high = np.percentile(purple, [1, 99.5]).tolist()
    step = max((high - low) / 64, 1e-3)
    counts, _ = np.histogram(purple, np.arange(low, high + 2 * step, step))
    smooth = np.convolve(counts, [1, 2, 3, 2, 1], "same").astype(float)
    mode = min(low + step * (float(_modes(smooth, MODE)[0]) + 0.5), MOST)
    left = mode - purple[purple < mode]
    return mode, SPREAD * float(np.median(left)) if left.size else step


def _limit(purple: Plane, mode: float, spread: float) -> float:
    """Purple from which on a pixel is nucleus."""
    limit = mode + max(LEAST, SPREADS * spread)
    above = purple[purple > mode + LEAST]
    if above.size > FEW:
        limit = max(limit, mode + PART * (float(np.percentile(above, NUCLEI)) - mode))
    return limit
