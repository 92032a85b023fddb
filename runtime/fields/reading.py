"""One field, read for classification: where its cells lie, each of them as a crop, and what is kept of the field."""

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import finalize

import cv2
import numpy as np

from ..errors import ImageError, IncompleteError, ScaleError
from ..images.adjust import Adjustment
from ..images.decode import MAX_PIXELS, Fingerprint, decode, fingerprint, hash_file, open_file
from ..images.levels import FULL_RANGE, Levels
from ..images.picture import Picture, WholePicture, open_picture
from ..images.reading import Reading, Source, read_cell
from ..images.resize import Image
from ..images.tiff_large import MAX_LARGE_BYTES
from .find import Field, Found
from .plane import plane_of
from .scale import NO_SCALE, diameter_of, mpp_of
from .slide_scale import FieldScale, file_mpp
from .stain import STAINED, background
from .tiles import cut_in, diameter_in, find_in, overview

NO_CELL = "no white cell or erythroblast was found in it"
OTHER_SCALE = "its red cells look like another magnification than the slide's"
UNLIKE = 1.4  # times the slide's red cells: single fields of one slide differed by more in 4 of 264
BARE = 0.02  # share of pixels that a field of empty slide has at most that are stained
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
        crop: Width and height of its crop, in pixels of the training cells.
        other_scale: Whether the red cells of its field look like another magnification than the slide's.
    """

    number: int
    found: Found
    scale: float
    mpp: float
    crop: tuple[int, int]
    other_scale: bool = False


@dataclass(frozen=True, eq=False)
class View:
    """What is kept of a field beside its cells.

    Attributes:
        width: Of its file, in pixels.
        height: Likewise.
        cells: How many cells it has.
        smudges: Smashed cells, clumps and debris; they are not counted.
        plane: Its small grey picture, packed: see `plane`; empty where it is too large, or too narrow, to be compared.
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
        picture: Its pixels; None where there is nothing to cut out. A large one is read as it is used; its file is
            closed once nothing refers to this.
        diameter: Of a red cell, in pixels; 0 where it cannot be used.
        other_scale: Whether its own red cells look like another magnification than the slide's.
    """

    file: Reading
    view: View | None = None
    found: Field | None = None
    picture: Picture | None = None
    diameter: float = 0.0
    other_scale: bool = False

    @property
    def numbers(self) -> range:
        """Numbers of its cells; 0 alone for the file as a whole, where there are none."""
        return range(1, len(self.found.cells) + 1) if self.found and self.found.cells else range(1)


def measure_field(path: bytes, levels: Levels = FULL_RANGE) -> FieldScale:
    """What a field tells of its scale.

    Raises:
        ImageError: It cannot be read.
    """
    with open_file(path, MAX_LARGE_BYTES) as (file, _):
        said = file_mpp(file)
    with open_picture(path, levels) as picture:
        return FieldScale(diameter_in(picture), said)


def read_field(source: Source, search: FieldSearch, levels: Levels = FULL_RANGE) -> FieldReading:
    """Read a field and search its cells; what is wrong with it is in the reading, not raised.

    Args:
        source: Path of a file, or its pixels: RGB, uint8, (H, W, 3).
        search: How cells are searched.
        levels: Values of 16 bits that are black and white.
    """
    if isinstance(source, np.ndarray):
        return _searched(WholePicture(source, None, None), search)
    found, opened = fingerprint(source), ExitStack()
    try:
        reading = _searched(opened.enter_context(open_picture(source, levels)), search)
    except ImageError as error:
        opened.close()
        return FieldReading(Reading(found, str(error), isinstance(error, IncompleteError), _digest(source, found)))
    finalize(reading, opened.close)
    return reading


def search_bytes(data: bytes, suffix: str, search: FieldSearch, levels: Levels = FULL_RANGE) -> FieldReading:
    """Search the cells of a field by the bytes of its file, which is not a large one.

    Args:
        data: The whole file.
        suffix: The file name's suffix.
        search: How cells are searched.
        levels: Values of 16 bits that are black and white.

    Raises:
        ImageError: It cannot be decoded.
    """
    return _searched(WholePicture(decode(data, suffix, levels).pixels, None, None), search)


def crop_of(field: FieldReading, box: tuple[int, int, int, int], crops: Crops) -> Image:
    """The crop of the cell with a box, as the model was given it.

    Raises:
        ImageError: The field has no such cell: another version of the finder found it; or it cannot be read any more.
    """
    for found in field.found.cells if field.found else ():
        if (found.x, found.y, found.w, found.h) == box and field.found and field.picture is not None:
            around = field.picture, found, field.diameter, field.found.empty
            return cut_in(*around, crops.diameter, crops.width, crops.height)
    raise ImageError(field.file.error or "has no cell there: it was found by another version of cartcls")


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
    if not number or field.found is None:
        return field.file, None
    found, file = field.found.cells[number - 1], field.file
    scale, size = crops.diameter / field.diameter, (crops.width, crops.height)
    part = Part(number, found, scale, mpp_of(field.diameter), size, field.other_scale)
    try:
        crop = crop_of(field, (found.x, found.y, found.w, found.h), crops)
    except ImageError as error:
        return replace(file, error=str(error)), part
    reading = replace(read_cell(crop, width, height, adjustment), fingerprint=file.fingerprint, sha256=file.sha256)
    return replace(reading, width=file.width, height=file.height, doubt=file.doubt, deep=file.deep), part


def _digest(source: Path | str | bytes, found: Fingerprint | None) -> str | None:
    """SHA-256 of a file that cannot be used; None where it cannot be read, or is another one by now."""
    try:
        digest, now = hash_file(os.fsencode(source), MAX_LARGE_BYTES)
    except ImageError:
        return None
    return digest if now == found else None


def _searched(picture: Picture, search: FieldSearch) -> FieldReading:
    """Search the cells of a field.

    Raises:
        ImageError: It cannot be read.
    """
    file = Reading(picture.fingerprint, "", False, picture.sha256, picture.width, picture.height)
    file = replace(file, doubt=picture.doubt, deep=picture.deep)
    own = diameter_in(picture)
    diameter = search.diameter or (diameter_of(search.mpp) if search.mpp else own)
    other_scale = own is not None and diameter is not None and not 1 / UNLIKE <= own / diameter <= UNLIKE
    if diameter is None:  # the slide may have a scale later
        return FieldReading(replace(file, error=NO_SCALE, incomplete=True))
    try:
        found = find_in(picture, diameter)
    except ScaleError as error:
        return FieldReading(replace(file, error=str(error)))
    if not found.cells and other_scale:
        return FieldReading(replace(file, error=f"{OTHER_SCALE}: {own:.0f} pixels, not {diameter:.0f}"))
    if not found.cells and own is None and (doubt := _why_not_empty(picture)):
        return FieldReading(replace(file, error=doubt))
    shown, _ = overview(picture)
    kept = _plane(picture, diameter), _jpeg(shown)
    view = View(picture.width, picture.height, len(found.cells), found.smudges, *kept)
    if not found.cells:
        smudges = len(found.smudges)
        told = f" ({smudges} smudge{'' if smudges == 1 else 's'})" if smudges else ""
        return FieldReading(replace(file, error=NO_CELL + told, empty=True), view, found)
    return FieldReading(file, view, found, picture, diameter, other_scale)


def _plane(picture: Picture, diameter: float) -> bytes:
    if picture.width * picture.height > MAX_PIXELS or min(picture.width, picture.height) < diameter:
        return b""
    return plane_of(picture.region(0, 0, picture.width, picture.height), diameter).pack()


def _why_not_empty(picture: Picture) -> str:
    """What speaks against a field's being empty that shows no red cells; nothing is known of large pictures."""
    if picture.width * picture.height > MAX_PIXELS:
        return ""
    image = picture.region(0, 0, picture.width, picture.height)
    green, empty = cv2.extractChannel(image, 1).astype(np.float32), background(image)[1]
    stained = float(np.mean(green < empty * np.exp(-STAINED)))
    if stained > BARE:
        return "shows neither red cells nor empty slide: it may be inverted, out of focus or too thick"
    return ""


def _jpeg(image: Image) -> bytes:
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    ok, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise RuntimeError("OpenCV could not encode a field")
    return encoded.tobytes()
