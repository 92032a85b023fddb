"""Was a file written to its end? What tells it of formats that have no end marker.

A program may give a file its full size before it writes the pixels, and a copy may lose sectors: both leave zeros. No
pixel of a bright field is exactly black. But crops may be masked, or framed in black where they leave the field: their
first pixel is black too, and then zeros say nothing.
"""

import re
from collections.abc import Iterator

import PIL.Image
import PIL.ImageFile

from ..errors import IncompleteError
from .jpeg import DAMAGED, ZEROS

SECTOR = 512
NOT_ZERO = re.compile(rb"[^\0]")
ZEROS_OF_WEBP = 64  # at its end
PIXELS_OF_A_ZERO = 380  # a flat area gives a lossy WebP of quality 100 one byte of zero for 384 pixels
CELL = 360 * 360  # pixels that are not flat
BY_CHANCE = 3  # bytes of zero that may stand beside a sector of zeros
TAIL = 64  # an area below one such part of the image does not change a label
UNFINISHED = (
    "is incomplete: the last {share:.0%} of its pixels are exactly 0 (leave out a black frame before you export it)"
)


def check_bmp(image: PIL.ImageFile.ImageFile, data: bytes) -> None:
    """Raise `IncompleteError` where a BMP was not written to its end."""
    codec, _, start, arguments = image.tile[0]
    if codec == "bmp_rle":
        if not data.rstrip(b"\0").endswith(b"\0\1"):  # zeros after it fill the file up
            raise IncompleteError("is incomplete: the end marker of its run lengths is missing")
    elif has_black_zeros(image) and isinstance(arguments, tuple):
        check_pixels(data, [(start, int(arguments[1]) * image.height)])


def check_webp(data: bytes) -> None:
    """Raise `IncompleteError` where a WebP is cut off, or a part of its compressed data is zeros."""
    if len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise IncompleteError("is incomplete: it is shorter than its header says")
    position = 12
    while position + 8 <= len(data):
        kind, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if kind in (b"VP8 ", b"VP8L"):
            _check_webp_data(data[position + 8 : position + 8 + size], position + 8, kind == b"VP8 ")
        position += 8 + size + size % 2


def _check_webp_data(frame: bytes, start: int, lossy: bool) -> None:
    """A flat area gives zeros too, but not whole sectors of them, nor more at the end than its pixels."""
    width, height = (int.from_bytes(frame[i : i + 2], "little") & 0x3FFF for i in (6, 8))
    flat = max(0, width * height - CELL) // PIXELS_OF_A_ZERO if lossy else 0
    tail = len(frame) - len(frame.rstrip(b"\0"))
    sectors = any(
        -(start + first) % SECTOR <= BY_CHANCE and (start + stop) % SECTOR <= BY_CHANCE
        for first, stop in _zeros(frame, 0, len(frame))
    )
    if sectors or tail > max(ZEROS_OF_WEBP, flat):
        raise IncompleteError(f"{DAMAGED}a part of its data is zeros")


def check_compressed(data: bytes) -> None:
    """Raise `IncompleteError` where compressed data hold more zeros in a row than any picture gives."""
    if ZEROS in data:
        raise IncompleteError(f"{DAMAGED}a part of its data is zeros")


def has_black_zeros(image: PIL.Image.Image) -> bool:
    """Whether bytes of zero are black pixels: a palette may have any colour there."""
    return image.mode in ("L", "LA", "RGB", "RGBA")


def check_pixels(data: bytes, pieces: list[tuple[int, int]]) -> None:
    """Look for zeros among uncompressed pixels.

    Args:
        data: The whole file.
        pieces: Start and length of each run of pixels in it, in bytes, in the order of the picture.

    Raises:
        IncompleteError: The pixels end with zeros, or sectors of zeros interrupt them.
    """
    pixels = b"".join(data[start : start + length] for start, length in pieces)
    if not any(pixels[:3]):
        return
    tail = len(pixels) - len(pixels.rstrip(b"\0"))
    if tail > len(pixels) // TAIL:
        raise IncompleteError(UNFINISHED.format(share=tail / len(pixels)))
    for start, length in pieces:
        for first, stop in _zeros(data, start, start + length):
            if first % SECTOR == 0 and stop % SECTOR == 0:
                raise IncompleteError(f"{DAMAGED}a part of its data is zeros")


def _zeros(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Find where zeros in a row begin and stop, where there are as many as a sector holds."""
    end = min(end, len(data))
    first = data.find(bytes(SECTOR), start, end)
    while first >= 0:
        found = NOT_ZERO.search(data, first + SECTOR, end)
        stop = found.start() if found else end
        yield first, stop
        first = data.find(bytes(SECTOR), stop, end)
