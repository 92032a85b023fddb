"""Fields of any size: those that are too large for the memory are searched, cut and shown by tiles.

A cell belongs to the tile whose core its middle lies in. All tiles have the same grid of pixels, the same colour of the
empty slide and the same limits of purple, and each is searched with so much around its core that no cell of the core is
cut: so a cell on the border of two cores is the same cell in both tiles, and counted in one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

import cv2
import numpy as np

from ..images.decode import MAX_PIXELS
from ..images.picture import Picture
from ..images.resize import Image
from .cut import cut, window
from .find import (
    NARROWEST,
    WORK,
    WORK_PIXELS,
    Field,
    Found,
    check_scale,
    enlarged,
    find,
    in_reading_order,
    search,
)
from .scale import red_cell_diameter
from .stain import WHITE, Color, Limits, background_of, limits_of, smoothed, stain_of, without_detail

AROUND = 4  # diameters of a red cell that are searched around a core
CORE = 3072  # pixels of a core's side, about
LOOKS = 3  # parts in each direction that tell the size of red cells
LOOK = 2048  # pixels of their sides, and of parts that are shown
LONGEST = 1600  # pixels of the longer side of a picture that is shown


@dataclass(frozen=True)
class _Part:
    """A part of a picture, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def holds(self, cell: Found) -> bool:
        """Whether the middle of a cell lies in it."""
        x, y = cell.middle
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


@dataclass(frozen=True)
class _Grid:
    """How a picture is searched.

    Attributes:
        picture: The picture.
        diameter: Of a red cell in pixels.
        around: Pixels that are searched around a core.
        scale: Of the pixels that are searched; it makes whole numbers of `around` and of a core's side.
    """

    picture: Picture
    diameter: float
    around: int
    scale: float

    @classmethod
    def of(cls, picture: Picture, diameter: float) -> "_Grid":
        """That of a picture in which red cells have a diameter; small ones are not enlarged."""
        around = round(AROUND * max(diameter, WORK))
        return cls(picture, diameter, around, AROUND * WORK / around)

    def cores(self) -> Iterator[_Part]:
        """Parts that make up the picture."""
        side = max(1, CORE // self.around) * self.around
        for y in range(0, self.picture.height, side):
            for x in range(0, self.picture.width, side):
                yield _Part(x, y, min(side, self.picture.width - x), min(side, self.picture.height - y))

    def with_around(self, core: _Part) -> _Part:
        """A core and what is searched around it."""
        x, y = max(0, core.x - self.around), max(0, core.y - self.around)
        right = min(self.picture.width, core.x + core.width + self.around)
        below = min(self.picture.height, core.y + core.height + self.around)
        return _Part(x, y, right - x, below - y)

    def scaled(self, part: _Part) -> Image:
        """A part in which red cells have the usual size: RGB, uint8."""
        found = self.picture.region(part.x, part.y, part.width, part.height)
        if self.scale == 1:
            return found
        return np.asarray(cv2.resize(found, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_AREA), np.uint8)


def diameter_in(picture: Picture, whole: int = MAX_PIXELS) -> float | None:
    """Diameter of a red cell in pixels, as `red_cell_diameter`; of a large picture the median of nine parts.

    Args:
        picture: The field.
        whole: How many pixels are searched at once.

    Raises:
        ImageError: The picture cannot be read.
    """
    if picture.width * picture.height <= whole:
        return red_cell_diameter(_all(picture))
    width, height = min(LOOK, picture.width), min(LOOK, picture.height)
    found = [
        red_cell_diameter(
            picture.region(
                (picture.width - width) * across // (LOOKS - 1),
                (picture.height - height) * down // (LOOKS - 1),
                width,
                height,
            )
        )
        for down in range(LOOKS)
        for across in range(LOOKS)
    ]
    known = [diameter for diameter in found if diameter is not None]
    return median(known) if known else None


def find_in(picture: Picture, diameter: float, whole: int = MAX_PIXELS) -> Field:
    """Find the cells of a field of any size, as `find` does.

    Args:
        picture: The field.
        diameter: Of a red cell in pixels, best the slide's.
        whole: How many pixels are searched at once.

    Raises:
        ImageError: The picture cannot be read.
        ScaleError: A red cell is too small to tell anything of a cell, or larger than the field.
    """
    if picture.width * picture.height <= whole:
        return find(_all(picture), diameter)
    check_scale(picture.width, picture.height, diameter)
    if min(picture.width, picture.height) < NARROWEST * diameter:
        return Field((), (), WHITE)
    grid = _Grid.of(picture, diameter)
    empty, limits = _colors(grid)
    cells: list[Found] = []
    smudges: list[Found] = []
    for core in grid.cores():
        own_cells, own_smudges = _search(grid, core, empty, limits)
        cells += own_cells
        smudges += own_smudges
    return Field(tuple(in_reading_order(cells)), tuple(in_reading_order(smudges)), empty)


def cut_in(
    picture: Picture, cell: Found, diameter: float, empty: Color, home_diameter: float, width: int, height: int
) -> Image:
    """Cut a cell out of a field of any size, as `cut` does.

    Raises:
        ImageError: The picture cannot be read.
    """
    left, top, wide, high = window(cell, diameter, home_diameter, width, height)
    x, y = max(0, left), max(0, top)
    around = picture.region(x, y, min(picture.width, left + wide) - x, min(picture.height, top + high) - y)
    return cut(around, replace(cell, x=cell.x - x, y=cell.y - y), diameter, empty, home_diameter, width, height)


def overview(picture: Picture, longest: int = LONGEST) -> tuple[Image, int]:
    """A field at a size that can be shown.

    Args:
        picture: The field.
        longest: Pixels that its longer side may have.

    Returns:
        RGB, uint8, (h, w, 3), and how many pixels of the field one of them is wide and high: a whole number, 1 where
        the field is no larger. A rest at the right and at the bottom, narrower than that, is left out.

    Raises:
        ImageError: The picture cannot be read.
    """
    times = -(-max(picture.width, picture.height) // longest)
    width, height = max(1, picture.width // times), max(1, picture.height // times)
    shown = np.empty((height, width, 3), np.uint8)
    side = max(1, LOOK // times)
    for y in range(0, height, side):
        for x in range(0, width, side):
            part = shown[y : y + side, x : x + side]
            high, wide = part.shape[:2]
            found = picture.region(
                x * times, y * times, min(wide * times, picture.width), min(high * times, picture.height)
            )
            part[:] = cv2.resize(found, (wide, high), interpolation=cv2.INTER_AREA)
    return shown, times


def _all(picture: Picture) -> Image:
    return picture.region(0, 0, picture.width, picture.height)


def _colors(grid: _Grid) -> tuple[Color, Limits]:
    """Colour of the empty slide, and the limits of purple, by evenly spaced pixels of the whole picture."""
    pixels = grid.picture.width * grid.picture.height * grid.scale**2
    step = max(1, round((pixels / WORK_PIXELS) ** 0.5))
    smooth, coarse = [], []
    for core in grid.cores():
        if min(core.width, core.height) * grid.scale < 1:
            continue
        small = grid.scaled(core)
        smooth.append(smoothed(small)[::step, ::step].reshape(-1, 1, 3))
        coarse.append(without_detail(small, grid.diameter * grid.scale)[::step, ::step].reshape(-1, 1, 3))
    empty = background_of(np.concatenate(smooth))
    return empty, limits_of(np.concatenate(coarse), empty)


def _search(grid: _Grid, core: _Part, empty: Color, limits: Limits) -> tuple[list[Found], list[Found]]:
    """Cells and smudges of a core, in the pixels of the picture."""
    tile = grid.with_around(core)
    work = grid.diameter * grid.scale
    found = search(stain_of(grid.scaled(tile), work, empty, limits), work)

    def of_core(parts: list[Found]) -> list[Found]:
        own = [enlarged(part, 1 / grid.scale, 1 / grid.scale, tile.width, tile.height) for part in parts]
        moved = [replace(part, x=part.x + tile.x, y=part.y + tile.y) for part in own]
        return [part for part in moved if core.holds(part)]

    cells, smudges = found
    return of_core(cells), of_core(smudges)
