"""One field, read for classification: where its cells lie, each of them as a crop, and what is kept of the field."""

import os
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..errors import ImageError, IncompleteError, ScaleError
from ..images.adjust import Adjustment
from ..images.decode import decode, fingerprint, one_large_image_at_a_time, read_file
from ..images.levels import FULL_RANGE, Levels
from ..images.reading import Reading, Source, read_cell
from ..images.resize import Image
from .cut import cut
from .find import Field, Found, find
from .plane import plane_of
from .scale import NO_SCALE, diameter_of, mpp_of, red_cell_diameter
from .slide_scale import FieldScale, file_mpp

NO_CELL = "no white cell or erythroblast was found in it"
SHOWN = 1600  # pixels of the longer side of the copy that a page shows
JPEG_QUALITY = 80


@dataclass(frozen=True)
class FieldSearch:
    """How cells are searched in files that are whole fields.

    Attributes:
        mpp: µm per pixel, as a person gave it; None to take it from the files or the red cells.
        diameter: Of a red cell in the slide's fields, in pixels; None where each field is measured by itself.
    """

    mpp: float | None = None
    diameter: float | None = None


@dataclass(frozen=True)
class Crops:
    """The crops that a model was trained on.

    Attributes:
        diameter: Of a red cell in them, in pixels.
        width: Their width in pixels.
        height: Their height in pixels.
    """

    diameter: float
    width: int
    height: int


@dataclass(frozen=True)
class Part:
    """A cell of a field.

    Attributes:
        number: Its number in the field, in reading order, from 1.
        found: Its box.
        scale: How much larger the model sees it than it is in the file.
        mpp: µm per pixel of the file.
    """

    number: int
    found: Found
    scale: float
    mpp: float


@dataclass(frozen=True, eq=False)
class View:
    """What is kept of a field beside its cells.

    Attributes:
        width: Of its file, in pixels.
        height: Likewise.
        cells: How many cells it has.
        smudges: Smashed cells, clumps and debris; they are not counted.
        plane: Its small grey picture, packed: see `overlap`.
        picture: A copy of at most 1,600 pixels on its longer side, as a JPEG file.
    """

    width: int
    height: int
    cells: int
    smudges: tuple[Found, ...]
    plane: bytes
    picture: bytes


@dataclass(frozen=True, eq=False)
class FieldReading:
    """A field in which cells were searched.

    Attributes:
        file: Of the file as a whole, without pixels; its error says why it cannot be used, or that it has no cell.
        view: What is kept of it; None where it cannot be used.
        found: What was found; None likewise.
        pixels: RGB, uint8, (H, W, 3); None where there is nothing to cut out.
        diameter: Of a red cell, in pixels; 0 where it cannot be used.
    """

    file: Reading
    view: View | None = None
    found: Field | None = None
    pixels: Image | None = None
    diameter: float = 0.0

    @property
    def numbers(self) -> range:
        """Numbers of its cells; 0 alone for the file as a whole, where there are none."""
        return range(1, len(self.found.cells) + 1) if self.found and self.found.cells else range(1)


def measure_field(path: bytes, levels: Levels = FULL_RANGE) -> FieldScale:
    """What a field tells of its scale.

    Raises:
        ImageError: It cannot be read.
    """
    raw = read_file(path)
    with one_large_image_at_a_time(raw.data):
        pixels = decode(raw.data, os.path.splitext(os.fsdecode(path))[1], levels).pixels
        return FieldScale(red_cell_diameter(pixels), file_mpp(raw.data))


def read_field(source: Source, search: FieldSearch, levels: Levels = FULL_RANGE) -> FieldReading:
    """Read a field and search its cells; what is wrong with it is in the reading, not raised.

    Args:
        source: Path of a file, or its pixels: RGB, uint8, (H, W, 3).
        search: How cells are searched.
        levels: Values of 16 bits that are black and white.
    """
    if isinstance(source, np.ndarray):
        return _searched(source, Reading(), search)
    path, found, sha256 = os.fsencode(source), fingerprint(source), None
    try:
        raw = read_file(path)
        found, sha256 = raw.fingerprint, raw.sha256
        with one_large_image_at_a_time(raw.data):
            file = Reading(found, "", False, sha256)
            return search_bytes(raw.data, os.path.splitext(os.fsdecode(path))[1], search, levels, file)
    except ImageError as error:
        return FieldReading(Reading(found, str(error), isinstance(error, IncompleteError), sha256))


def search_bytes(
    data: bytes, suffix: str, search: FieldSearch, levels: Levels = FULL_RANGE, file: Reading | None = None
) -> FieldReading:
    """Search the cells of a field by the bytes of its file.

    Args:
        data: The whole file.
        suffix: The file name's suffix.
        search: How cells are searched.
        levels: Values of 16 bits that are black and white.
        file: What is known of the file.

    Raises:
        ImageError: It cannot be decoded.
    """
    pixels, doubt, deep = decode(data, suffix, levels)
    return _searched(pixels, replace(file or Reading(), doubt=doubt, deep=deep), search)


def crop_of(field: FieldReading, box: tuple[int, int, int, int], crops: Crops) -> Image:
    """The crop of the cell with a box, as the model was given it.

    Raises:
        ImageError: The field has no such cell: another version of the finder found it.
    """
    for found in field.found.cells if field.found else ():
        if (found.x, found.y, found.w, found.h) == box and field.found and field.pixels is not None:
            around = field.pixels, found, field.diameter, field.found.empty
            return cut(*around, crops.diameter, crops.width, crops.height)
    raise ImageError("has no cell there: it was found by another version of cartcls")


def read_part(
    field: FieldReading, number: int, crops: Crops, width: int, height: int, adjustment: Adjustment | None = None
) -> tuple[Reading, Part | None]:
    """Read a cell of a field as if its crop were a file: cut out as the training cells were.

    Args:
        field: The field.
        number: Number of the cell; 0 for the file as a whole.
        crops: The training cells.
        width: Width of the graph's input in pixels.
        height: Height of the graph's input in pixels.
        adjustment: How the picture is changed for the model.

    Returns:
        The reading, with digest and size of the file; the cell, or None where there is none.
    """
    if not number or field.found is None or field.pixels is None:
        return field.file, None
    found, file = field.found.cells[number - 1], field.file
    crop = read_cell(crop_of(field, (found.x, found.y, found.w, found.h), crops), width, height, adjustment)
    reading = replace(crop, fingerprint=file.fingerprint, sha256=file.sha256, doubt=file.doubt, deep=file.deep)
    part = Part(number, found, crops.diameter / field.diameter, mpp_of(field.diameter))
    return replace(reading, width=file.width, height=file.height), part


def _searched(pixels: Image, file: Reading, search: FieldSearch) -> FieldReading:
    """Search the cells of a field that was decoded."""
    height, width = pixels.shape[:2]
    file = replace(file, width=width, height=height)
    diameter = search.diameter or (diameter_of(search.mpp) if search.mpp else red_cell_diameter(pixels))
    if diameter is None:  # the slide may have a scale later
        return FieldReading(replace(file, error=NO_SCALE, incomplete=True))
    try:
        found = find(pixels, diameter)
    except ScaleError as error:
        return FieldReading(replace(file, error=str(error)))
    plane = plane_of(pixels, diameter).pack()
    view = View(width, height, len(found.cells), found.smudges, plane, _copy(pixels))
    if not found.cells:
        return FieldReading(replace(file, error=NO_CELL, empty=True), view, found)
    return FieldReading(file, view, found, pixels, diameter)


def _copy(pixels: Image) -> bytes:
    """A copy for a page: a JPEG file."""
    scale = min(1.0, SHOWN / max(pixels.shape[:2]))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    picture = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    ok, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise RuntimeError("OpenCV could not encode a field")
    return encoded.tobytes()
