"""The directories of a TIFF file of either byte order, ordinary or BigTIFF; a directory tells of one picture.

Nothing is believed that the file cannot hold: values are read only where they lie in it, and all together are no more
than it is long.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from ..errors import ImageError, IncompleteError
from .jpeg import DAMAGED

KIND, OLD_KIND, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 254, 255, 256, 257, 258, 259, 262, 266
DESCRIPTION, STRIPS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES = 270, 273, 274, 277, 278, 279
X_RESOLUTION, Y_RESOLUTION, PLANAR, RESOLUTION_UNIT, PREDICTOR, COLOR_MAP = 282, 283, 284, 296, 317, 320
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_SIZES = 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, PROFILE = 338, 339, 347, 34675
USED = {
    *(KIND, OLD_KIND, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, DESCRIPTION, STRIPS, ORIENTATION),
    *(SAMPLES, ROWS_PER_STRIP, STRIP_SIZES, X_RESOLUTION, Y_RESOLUTION, PLANAR, RESOLUTION_UNIT, PREDICTOR, COLOR_MAP),
    *(TILE_WIDTH, TILE_HEIGHT, TILES, TILE_SIZES, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, PROFILE),
}

HEADERS = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 13: "I", 16: "Q", 18: "Q"}
MAX_NUMBERS = 1 << 20  # of a tag: more strips than pixels in a row need
MANY = 100  # pictures: each must be looked for


@dataclass(frozen=True)
class Tags:
    """What one directory says of its picture.

    Attributes:
        order: Byte order of the file: `<` or `>`.
        big: Whether it is a BigTIFF.
        values: Type and bytes of each tag.
    """

    order: str
    big: bool
    values: Mapping[int, tuple[int, bytes]]

    def __contains__(self, tag: int) -> bool:
        return tag in self.values

    def all(self, tag: int) -> tuple[int, ...]:
        """Numbers of a tag, empty where it is missing; a fraction is two of them.

        Raises:
            ImageError: There are too many.
        """
        if tag not in self.values:
            return ()
        kind, packed = self.values[tag]
        code = TYPES[kind]
        count = len(packed) // struct.calcsize("=" + code) * len(code)
        if count > MAX_NUMBERS:
            raise ImageError(f"has a tag (number {tag}) with {count} values, which are too many: export it again")
        return struct.unpack(f"{self.order}{count}{code[0]}", packed)

    def one(self, tag: int, default: int) -> int:
        """First number of a tag."""
        return next(iter(self.all(tag)), default)

    def raw(self, tag: int) -> bytes:
        """Bytes of a tag, empty where it is missing."""
        return self.values[tag][1] if tag in self.values else b""

    @property
    def description(self) -> str:
        """What the program that wrote the file says of the picture."""
        return self.raw(DESCRIPTION).decode("utf-8", "replace").rstrip("\0")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.one(WIDTH, 0), self.one(HEIGHT, 0)

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.size[0] * self.size[1]

    @property
    def bits(self) -> int:
        """Bits per channel."""
        return max(self.all(BITS) or (1,))

    @property
    def is_preview(self) -> bool:
        """Whether it is a smaller copy of another picture in the file."""
        return bool(self.one(KIND, 0) & 1) or self.one(OLD_KIND, 0) == 2


def read_directories(file: BinaryIO, most: int = MANY) -> list[Tags]:
    """Read the directories of a TIFF file, in their order; those below another one are left out.

    Args:
        file: The whole file.
        most: How many at most.

    Raises:
        IncompleteError: One does not lie in the file.
    """
    size = file.seek(0, 2)
    file.seek(0)
    header = file.read(16)
    if len(header) < 8 or header[:4] not in HEADERS:
        raise IncompleteError(f"{DAMAGED}it has no header of a TIFF")
    order, big = HEADERS[header[:4]]
    found: list[Tags] = []
    seen, room = {0}, size
    (start,) = struct.unpack(order + "Q", header[8:16]) if big else struct.unpack(order + "I", header[4:8])
    while start not in seen and len(found) < most:
        seen.add(start)
        values, start = _read_directory(file, start, order, big, room)
        room -= sum(len(packed) for _, packed in values.values())
        found.append(Tags(order, big, values))
    if not found:
        raise IncompleteError(f"{DAMAGED}it says nothing of its picture")
    return found


def _read_directory(
    file: BinaryIO, start: int, order: str, big: bool, room: int
) -> tuple[dict[int, tuple[int, bytes]], int]:
    """Values of one directory, of at most `room` bytes, and where the next one starts."""
    counter, entry, offset = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    (count,) = struct.unpack(order + counter, _read(file, start, 8 if big else 2))
    start += 8 if big else 2
    length = struct.calcsize(order + entry)
    if count > 1 << 16:
        raise IncompleteError(f"{DAMAGED}a directory of it has {count} tags")
    entries = _read(file, start, count * length)
    values: dict[int, tuple[int, bytes]] = {}
    for tag, kind, number, inline in struct.iter_unpack(order + entry, entries):
        if tag not in USED or tag in values or kind not in TYPES:
            continue
        needed = number * struct.calcsize("=" + TYPES[kind])
        if needed > room:
            continue  # as missing: what needs it says so
        packed = inline[:needed]
        if needed > len(inline):
            (place,) = struct.unpack(order + offset, inline)
            packed = _read(file, place, needed, b"")
        if packed:
            values[tag] = kind, packed
            room -= needed
    size = struct.calcsize(order + offset)
    (following,) = struct.unpack(order + offset, _read(file, start + len(entries), size, bytes(size)))
    return values, following


def _read(file: BinaryIO, start: int, length: int, otherwise: bytes | None = None) -> bytes:
    """Bytes at a place of the file."""
    if start < 1 << 63:
        file.seek(start)
        found = file.read(length)
        if len(found) == length:
            return found
    if otherwise is not None:
        return otherwise
    raise IncompleteError(f"{DAMAGED}a directory of it does not lie in the file")
