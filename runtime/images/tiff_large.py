"""Pictures of a TIFF that are too large to be decoded as a whole: any part of one, by its strips or tiles."""

import threading
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from ..errors import ImageError, IncompleteError
from . import tiff_tags as tag
from .colors import transform_to_srgb
from .decode import MAX_PIXELS, Fingerprint, check_unchanged, read_errors_told, sha256_of, told_as_reasons
from .formats import TIFF_STARTS
from .jpeg import DAMAGED
from .levels import FULL_RANGE, Levels
from .resize import Image
from .tiff import check_places
from .tiff_draw import Box, draw, piece_to_read, read_region
from .tiff_pages import full_size
from .tiff_pieces import GREY, LZW, PACKBITS, RAW, RGB, piece_of
from .tiff_tags import Tags, read_directories
from .written import check_compressed

MAX_LARGE_BYTES = 1 << 30
MAX_LARGE_PIXELS = 400_000_000
PIECE_PIXELS = 1 << 24  # of a strip or tile: a larger one takes too much memory, or too long for each part
BAND_BYTES = 1 << 28  # of rows that are kept
ROWS_BEFORE, ROWS_AFTER = 256, 1024  # of a small part
ROWS_AT_A_TIME = 256
NO_BAND: tuple[int, Image] = 0, np.empty((0, 0, 3), np.uint8)
LOOKS, LOOK = 3, 256  # parts in each direction, and their sides, that tell how bright 16 bits are


class LargeTiff:
    """A picture of a TIFF file, of which parts are read; its file must stay open.

    Attributes:
        width: In pixels.
        height: In pixels.
        sha256: Of the file.
        fingerprint: Of the file.
        doubt: Why its colours may be wrong; empty where nothing is known to be.
        deep: Whether the file has more than 8 bits per channel, so that the levels made its pixels.
    """

    def __init__(self, file: BinaryIO, found: Fingerprint, tags: Tags, levels: Levels = FULL_RANGE) -> None:
        """Check what the file says of its picture.

        Args:
            file: Open for reading.
            found: Its fingerprint, when it was opened.
            tags: What it says of the picture, from `large_page`.
            levels: Values of 16 bits that are black and white.

        Raises:
            IncompleteError: A part of it is missing or damaged.
            ImageError: It is of an unsupported kind.
        """
        self._file, self._tags, self._levels, self.fingerprint = file, tags, levels, found
        self.width, self.height = tags.size
        self._band, self._one_at_a_time = NO_BAND, threading.Lock()
        with told_as_reasons():
            _check_kind(tags)
            self._check = _check_of_pieces(file, tags, check_places(tags, found.size))
            grey = tags.one(tag.PHOTOMETRIC, RGB) in GREY
            self._transform, self.doubt = None, ""
            if tag.PROFILE in tags:
                self._transform, self.doubt = transform_to_srgb(tags.raw(tag.PROFILE), grey)
            self.deep = tags.bits > 8
            if self.deep:
                levels.check_used(self._brightest())
            self.sha256 = sha256_of(file)
            check_unchanged(file, found)

    def region(self, x: int, y: int, width: int, height: int) -> Image:
        """Decode a part, as `decode` does a whole picture of the same kind.

        Args:
            x: Its left side.
            y: Its upper side.
            width: In pixels.
            height: In pixels.

        Returns:
            RGB, uint8, (height, width, 3).

        Raises:
            IncompleteError: A part of the file is missing or damaged, or the file changed.
            ImageError: Its colours are not what the file says.
            ValueError: The part does not lie in the picture.
        """
        box = Box(x, y, width, height)
        box.check_inside(self.width, self.height)
        with self._one_at_a_time, told_as_reasons():
            pixels = self._read(box) if tag.TILES in self._tags else self._of_band(box)
            check_unchanged(self._file, self.fingerprint)
        return pixels

    def _read(self, box: Box) -> Image:
        return read_region(self._file, self._tags, box, self._levels, self._transform, self._check)

    def _of_band(self, box: Box) -> Image:
        """A part of a picture in strips; its rows are kept for the next parts, since strips are as wide as these."""
        top, band = self._band
        below = box.top + box.height
        if not top <= box.top < below <= top + len(band):
            top = box.top
            if box.height <= ROWS_AFTER:  # others near it will follow
                top, below = max(0, top - ROWS_BEFORE), min(self.height, below + ROWS_AFTER)
            if self.width * (below - top) * 3 > BAND_BYTES:
                return self._read(box)
            del band
            self._band = NO_BAND  # frees the memory before the next one is made
            band = np.empty((below - top, self.width, 3), np.uint8)
            for y in range(0, len(band), ROWS_AT_A_TIME):
                rows = min(ROWS_AT_A_TIME, len(band) - y)
                band[y : y + rows] = self._read(Box(0, top + y, self.width, rows))
            self._band = top, band
        return np.ascontiguousarray(band[box.top - top :, box.left : box.left + box.width][: box.height])

    def _brightest(self) -> int:
        """Highest value of 16 bits in some parts."""
        width, height = min(LOOK, self.width), min(LOOK, self.height)
        places = [
            ((self.width - width) * across // (LOOKS - 1), (self.height - height) * down // (LOOKS - 1))
            for down in range(LOOKS)
            for across in range(LOOKS)
        ]
        return max(draw(self._file, self._tags, self._levels, Box(x, y, width, height))[1] for x, y in places)


def large_page(file: BinaryIO, whole: int = MAX_PIXELS) -> Tags | None:
    """The one picture of a TIFF file that is larger than what is decoded whole, but has small strips or tiles.

    Args:
        file: Open for reading.
        whole: How many pixels are decoded whole.

    Returns:
        None for any other file; `decode` reads it or says why not.

    Raises:
        IncompleteError: The file is damaged.
        ImageError: The picture has too many pixels, or is of an unsupported kind.
    """
    with read_errors_told():
        file.seek(0)
        start = file.read(4)
    if not start.startswith(TIFF_STARTS):
        return None
    with told_as_reasons():
        if max(page.pixels for page in read_directories(file)) <= whole:
            return None
        page = full_size(file)
        if page.pixels <= whole:
            return None
        if page.pixels > MAX_LARGE_PIXELS:
            most = MAX_LARGE_PIXELS // 1_000_000
            raise ImageError(
                f"has {page.size[0]}x{page.size[1]} pixels: more than {most} megapixels: export the part with the cells"
            )
        piece = piece_of(page)
    return page if piece.width * piece.height <= PIECE_PIXELS else None


def _check_kind(tags: Tags) -> None:
    piece_to_read(tags)
    if tags.one(tag.ORIENTATION, 1) != 1:
        raise ImageError("is turned by a tag, which is not applied to so large a picture: export it upright")
    if tags.one(tag.SAMPLES, 1) in (2, 4) and tags.one(tag.EXTRA_SAMPLES, 0) in (1, 2):
        raise ImageError("has an alpha channel, which is not applied to so large a picture: export it as RGB")


def _check_of_pieces(file: BinaryIO, tags: Tags, strips: list[tuple[int, int]]) -> Callable[[bytes], None]:
    """A check of strips or tiles, for damage that their decoders do not tell."""
    compression = tags.one(tag.COMPRESSION, RAW)
    if compression in (LZW, PACKBITS):
        return check_compressed
    file.seek(strips[0][0])
    is_framed = not any(file.read(3))  # in black
    if compression == RAW and tags.one(tag.PHOTOMETRIC, RGB) in (1, RGB) and not is_framed:
        return _check_raw
    return lambda _: None


def _check_raw(piece: bytes) -> None:
    if not piece.strip(b"\0"):
        raise IncompleteError(f"{DAMAGED}a strip or tile of it is all zeros")
