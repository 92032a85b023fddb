"""White cells and erythroblasts in a field: where they lie, and what must be known of each.

Platelets are not searched. What is found does not depend on the magnification: a field is scaled until a red cell is 32
pixels wide, and every length is a share of that.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median

import cv2
import numpy as np

from ..errors import ScaleError
from ..images.resize import Image
from .bodies import body, cytoplasm, is_smudge
from .nuclei import Part, nuclei, purple, red_cell_area
from .split import Cell, split
from .stain import Color, Stain, background, stain_of

FINDER_VERSION = "1"
"""Another one for other boxes: cells are known by their box and by what found it."""

WORK = 32.0  # diameter of a red cell in pixels, where cells are searched
WORK_PIXELS = 4_000_000  # a field is not enlarged beyond
SMALLEST = 8.0  # diameter of a red cell in pixels: below it nothing can be told of a cell
NARROWEST = 0.25  # diameters: a narrower field shows no cell
NUCLEUS = 0.45  # area of a red cell's, that a nucleus has at least
CUT_NUCLEUS = 0.25  # likewise, of one that the field's border cuts
DENSE_NUCLEUS = 0.25  # likewise, of one that is as dense as those of late erythroblasts; platelets never are
DENSE = 1.75  # optical density of green, that such a nucleus has at least
DENSE_PURPLE = 2.2  # times as far above red cells as the least purple nucleus, that it is at least
EDGE = 0.13  # diameters between a cell and the border: cytoplasm too pale to be seen may reach as far
TOUCH = 0.04  # diameters: what is as near to the border touches it
ROW = 0.5  # of the usual height: cells whose middles differ by less stand in one row


@dataclass(frozen=True)
class Found:
    """A cell in a field, in the field's pixels.

    Attributes:
        x: Left side of its box.
        y: Upper side of its box.
        w: Width of its box.
        h: Height of its box.
        at_edge: Whether the field's border may cut it.
        joined: Whether it may be two cells that could not be cut apart.
    """

    x: int
    y: int
    w: int
    h: int
    at_edge: bool = False
    joined: bool = False

    @property
    def middle(self) -> tuple[float, float]:
        """Middle of its box: x and y."""
        return self.x + self.w / 2, self.y + self.h / 2


@dataclass(frozen=True)
class Field:
    """What is in a field.

    Attributes:
        cells: White cells and erythroblasts, in reading order.
        smudges: Smashed cells, clumps and debris, in reading order; they are not counted.
        empty: Colour of the empty slide: red, green and blue, 0 to 255.
    """

    cells: tuple[Found, ...]
    smudges: tuple[Found, ...]
    empty: Color

    def shrunk(self, times: int) -> "Field":
        """The same in a copy of the field of which a pixel is as wide and high as some of the field."""

        def small(found: Found) -> Found:
            width, height = max(1, -(-found.w // times)), max(1, -(-found.h // times))
            return replace(found, x=found.x // times, y=found.y // times, w=width, h=height)

        return Field(tuple(map(small, self.cells)), tuple(map(small, self.smudges)), self.empty)


def find(image: Image, diameter: float) -> Field:
    """Find the white cells and erythroblasts of a field.

    Args:
        image: RGB, uint8, (H, W, 3).
        diameter: Of a red cell in pixels, best the slide's.

    Raises:
        ScaleError: A red cell is too small to tell anything of a cell, or larger than the field.
    """
    height, width = image.shape[:2]
    check_scale(width, height, diameter)
    small, scale = _scaled(image, diameter)
    work = diameter * scale
    empty = background(small)
    if min(small.shape[:2]) < NARROWEST * work:
        return Field((), (), empty)
    cells, smudges = search(stain_of(small, work, empty), work)
    across, down = width / small.shape[1], height / small.shape[0]
    return Field(
        tuple(in_reading_order(enlarged(cell, across, down, width, height) for cell in cells)),
        tuple(in_reading_order(enlarged(smudge, across, down, width, height) for smudge in smudges)),
        empty,
    )


def in_reading_order(cells: Iterable[Found]) -> list[Found]:
    """Sort cells by rows from top to bottom, and each row from left to right."""
    by_height = sorted(cells, key=lambda cell: (cell.middle[1], cell.middle[0]))
    limit = ROW * median(cell.h for cell in by_height) if by_height else 0.0
    rows: list[list[Found]] = []
    for cell in by_height:
        if not rows or cell.middle[1] - rows[-1][0].middle[1] >= limit:
            rows.append([])
        rows[-1].append(cell)
    return [cell for row in rows for cell in sorted(row, key=lambda cell: (cell.x, cell.y))]


def check_scale(width: int, height: int, diameter: float) -> None:
    """Raise `ScaleError` where a diameter of a red cell, in pixels, does not fit a field."""
    if not diameter >= SMALLEST:  # nor a number
        raise ScaleError(
            f"a red cell would be {diameter:.1f} pixels wide, too few to tell cells apart: check --mpp, or take the"
            " fields with a stronger objective"
        )
    if diameter > max(width, height):
        raise ScaleError(f"a red cell would be {diameter:.0f} pixels wide in a field of {width}x{height}: check --mpp")


def _scaled(image: Image, diameter: float) -> tuple[Image, float]:
    """A field in which red cells have the usual size, where that takes no more pixels than are allowed."""
    height, width = image.shape[:2]
    scale = min(WORK / diameter, max(1.0, (WORK_PIXELS / (width * height)) ** 0.5))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(small, np.uint8), scale


def search(stain: Stain, work: float) -> tuple[list[Found], list[Found]]:
    """Find the cells and the smudges of a scaled field, or of a part of one, in its pixels.

    Args:
        stain: Of the scaled field.
        work: Diameter of a red cell in it, in pixels.
    """
    cells: list[Found] = []
    smudges: list[Found] = []
    found = purple(stain, work)
    weak = cytoplasm(stain, found, work)
    for nucleus in nuclei(found, work):
        for cell in split(nucleus, body(nucleus, weak, found, work), work):
            if _is_large(cell.nucleus, stain, work):
                smudge = is_smudge(cell.nucleus, cell.body, stain, work)
                (smudges if smudge else cells).append(_found(cell, stain.purple.shape, work))
    return cells, smudges


def _is_large(nucleus: Part, stain: Stain, work: float) -> bool:
    """Whether a nucleus is large enough to be a cell's and not a platelet."""
    area = np.count_nonzero(nucleus.mask) / red_cell_area(work)
    if area >= NUCLEUS or _at_edge(nucleus, stain.purple.shape, TOUCH * work):
        return bool(area >= CUT_NUCLEUS)
    inside = nucleus.mask > 0
    dense = float(np.median(stain.density[nucleus.window][inside])) >= DENSE
    purple = float(np.median(stain.purple[nucleus.window][inside])) - stain.red_cells
    return bool(area >= DENSE_NUCLEUS and dense and purple >= DENSE_PURPLE * (stain.nucleus - stain.red_cells))


def _at_edge(part: Part, size: tuple[int, ...], margin: float) -> bool:
    rows, columns = part.window
    inside = margin < rows.start and rows.stop < size[0] - margin
    return not (inside and margin < columns.start and columns.stop < size[1] - margin)


def _found(cell: Cell, size: tuple[int, ...], work: float) -> Found:
    """A cell in the pixels of the scaled field."""
    height, width = cell.body.mask.shape
    return Found(cell.body.x, cell.body.y, width, height, _at_edge(cell.body, size, EDGE * work), cell.joined)


def enlarged(found: Found, across: float, down: float, width: int, height: int) -> Found:
    """A cell of a scaled field in the pixels of the field as it came.

    Args:
        found: The cell.
        across: Pixels of the field in one of the scaled field, from left to right.
        down: Likewise from top to bottom.
        width: Of the field in pixels.
        height: Of the field in pixels.
    """
    x, y = int(found.x * across), int(found.y * down)
    right = min(width, round((found.x + found.w) * across))
    below = min(height, round((found.y + found.h) * down))
    return replace(found, x=x, y=y, w=max(1, right - x), h=max(1, below - y))
