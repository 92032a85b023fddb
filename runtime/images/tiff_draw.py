"""Pictures of a TIFF, or parts of them, drawn strip by strip or tile by tile: what Pillow cannot, in little memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import PIL.Image

from ..errors import ImageError, IncompleteError
from . import tiff_tags as tag
from .colors import Transform, to_rgb
from .jpeg import DAMAGED
from .levels import FULL_RANGE, Deep, Levels
from .resize import Image
from .tiff_pieces import DECODED, GREY, JPEG, RAW, RGB, YCC, Piece, decode_pieces, piece_of, strips_of
from .tiff_tags import Tags

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
MAX_BYTES = 170 << 20  # of a compressed strip or tile, which is in memory at once; Pillow's limit is the same
MAX_TILES = 50_000  # of a part, which take two seconds
ROWS_AT_A_TIME = 64


@dataclass(frozen=True)
class Box:
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def check_inside(self, width: int, height: int) -> None:
        """Raise `ValueError` where it does not lie in a picture of a width and height."""
        right, bottom = self.left + self.width, self.top + self.height
        if min(self.left, self.top, self.width - 1, self.height - 1) < 0 or right > width or bottom > height:
            raise ValueError(f"{self} does not lie in a picture of {(width, height)}")


def draw(
    file: BinaryIO,
    tags: Tags,
    levels: Levels = FULL_RANGE,
    box: Box | None = None,
    check: Callable[[bytes], None] = lambda _: None,
) -> tuple[PIL.Image.Image, int]:
    """Decode a picture, or a part of it, of 8 or 16 bits per channel; only the strips or tiles that it needs are read.

    Args:
        file: The whole file.
        tags: What it says of the picture.
        levels: Values of 16 bits that are black and white.
        box: The part; the whole picture where there is none.
        check: Raises an error where the bytes of a strip or tile are damaged in a way that decoders do not tell.

    Returns:
        The picture, of the mode L, LA, RGB or RGBA; and its highest value before it was scaled, 0 where it has 8 bits.

    Raises:
        IncompleteError: A strip or tile is missing or damaged.
        ImageError: The picture is of another kind.
    """
    piece, box = piece_to_read(tags), box or Box(0, 0, *tags.size)
    samples, separate = tags.one(tag.SAMPLES, 1), tags.one(tag.PLANAR, 1) == 2
    kept = samples - _has_unknown_channel(tags)
    brightest, canvases = 0, []
    for plane in range(kept if separate else 1):
        canvases.append(PIL.Image.new("L" if separate else MODES[kept], (box.width, box.height)))
        is_alpha = separate and plane == samples - 1 and samples in (2, 4)
        for strips, rows, place in _pieces(file, tags, piece, plane, box):
            for strip in strips:
                check(strip)
            pixels = decode_pieces(strips, tags, piece, rows, 1 if separate else samples)
            highest = _paste(canvases[-1], pixels, place, tags, FULL_RANGE if is_alpha else levels)
            brightest = max(brightest, 0 if is_alpha else highest)
    return (PIL.Image.merge(MODES[kept], canvases) if separate else canvases[0]), brightest


def read_region(
    file: BinaryIO,
    tags: Tags,
    box: Box,
    levels: Levels = FULL_RANGE,
    transform: Transform | None = None,
    check: Callable[[bytes], None] = lambda _: None,
) -> Image:
    """Read a part of a picture by its tiles, so that one of any size needs memory for the part alone.

    Args:
        file: The whole file.
        tags: What it says of the picture, from `tiff_pages.full_size`.
        box: The part.
        levels: Values of 16 bits that are black and white.
        transform: From its colour profile to sRGB; None where there is nothing to convert.
        check: As in `draw`.

    Returns:
        RGB, uint8, (H, W, 3); its rotation is not applied.

    Raises:
        IncompleteError: A tile is missing or damaged.
        ImageError: The picture is of another kind.
        ValueError: The part does not lie in the picture.
    """
    box.check_inside(*tags.size)
    return to_rgb(draw(file, tags, levels, box, check)[0], transform)


def piece_to_read(tags: Tags) -> Piece:
    """What each strip or tile of a picture holds that can be read by them.

    Raises:
        IncompleteError: It says nothing of its size.
        ImageError: It is of another kind.
    """
    piece, samples, photometric = piece_of(tags), tags.one(tag.SAMPLES, 1), tags.one(tag.PHOTOMETRIC, -1)
    compression, predictor = tags.one(tag.COMPRESSION, RAW), tags.one(tag.PREDICTOR, 1)
    if piece.size < 1 or not all(tags.size):
        raise IncompleteError(f"{DAMAGED}it says nothing of its size")
    if tags.bits not in (8, 16) or photometric not in (*GREY, RGB, YCC) or samples not in MODES:
        raise ImageError("has a palette, or few bits, in a form of TIFF that is seldom used: export it as RGB")
    if compression not in DECODED or predictor not in (1, 2):
        raise ImageError("is compressed in a form that is seldom used: export it with LZW")
    if compression != RAW and piece.size > MAX_BYTES:
        raise ImageError(
            f"has strips or tiles of {piece.width}x{piece.height} pixels, which need too much memory: export it with"
            " 8 bits, or with smaller strips"
        )
    return piece


def _has_unknown_channel(tags: Tags) -> bool:
    """Whether there is a channel beside the colours that is not said to be alpha."""
    return tags.one(tag.SAMPLES, 1) in (2, 4) and tags.one(tag.EXTRA_SAMPLES, 0) not in (1, 2)


def _pieces(
    file: BinaryIO, tags: Tags, piece: Piece, plane: int, box: Box
) -> Iterator[tuple[list[bytes], int, tuple[int, int]]]:
    """Bytes of each tile, or of some strips, in a part of a plane; how many rows count; where they lie in the part."""
    strips, together = list(strips_of(tags)), 1 if tag.TILES in tags else max(1, ROWS_AT_A_TIME // piece.height)
    across, down = -(-tags.size[0] // piece.width), -(-tags.size[1] // piece.height)
    if len(strips) < across * down * (plane + 1):
        raise IncompleteError("is incomplete: it has fewer strips or tiles than its size needs")
    end = -(-(box.top + box.height) // piece.height)
    columns = range(box.left // piece.width, -(-(box.left + box.width) // piece.width))
    if tag.TILES in tags and (end - box.top // piece.height) * len(columns) > MAX_TILES:
        raise ImageError(
            f"has tiles of {piece.width}x{piece.height} pixels, which take too long: export it with larger ones"
        )
    for row in range(box.top // piece.height, end, together):
        after = min(row + together, end)
        rows = min(after * piece.height, tags.size[1]) - row * piece.height
        for column in columns:
            first = (plane * down + row) * across + column
            found = [_read(file, *strips[first + number]) for number in range(after - row)]
            yield found, rows, (column * piece.width - box.left, row * piece.height - box.top)


def _read(file: BinaryIO, start: int, size: int) -> bytes:
    if not start or not size:
        raise IncompleteError("is incomplete: a strip or tile of it was never written")
    if start + size > file.seek(0, 2):
        raise IncompleteError(f"{DAMAGED}it is shorter than it says")
    file.seek(start)
    return file.read(size)


def _paste(canvas: PIL.Image.Image, pixels: Image | Deep, place: tuple[int, int], tags: Tags, levels: Levels) -> int:
    """Paste pixels, scaled to 8 bits; gives the highest value of 16 bits that is a colour."""
    channels, colors = len(canvas.getbands()), len(canvas.getbands()) - (canvas.mode in ("LA", "RGBA"))
    differences = tags.one(tag.PREDICTOR, 1) == 2 and tags.one(tag.COMPRESSION, RAW) != JPEG
    raw = "RGBa" if canvas.mode == "RGBA" and tags.one(tag.EXTRA_SAMPLES, 0) == 1 else canvas.mode
    brightest = 0
    for top in range(0, len(pixels), ROWS_AT_A_TIME):
        found = pixels[top : top + ROWS_AT_A_TIME]
        if differences:
            found = np.cumsum(found, axis=1, dtype=found.dtype.newbyteorder("="))
        found = found[:, :, :channels]
        if found.dtype == np.uint8:
            rows = np.asarray(found, np.uint8)
        else:
            deep = np.asarray(found, np.uint16)
            rows = np.dstack([levels.to_eight_bits(deep[..., :colors]), FULL_RANGE.to_eight_bits(deep[..., colors:])])
            brightest = max(brightest, int(deep[..., :colors].max()))
        if tags.one(tag.PHOTOMETRIC, 1) == 0:
            rows = np.dstack([255 - rows[..., :colors], rows[..., colors:]])
        size = rows.shape[1], rows.shape[0]
        strip = PIL.Image.frombytes(canvas.mode, size, np.ascontiguousarray(rows).tobytes(), "raw", raw)
        canvas.paste(strip, (place[0], place[1] + top))
    return brightest
