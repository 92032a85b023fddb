"""The strips or tiles of a TIFF picture, decoded one by one: by zlib, libjpeg, or libtiff as Pillow has it."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image

from ..errors import ImageError, IncompleteError
from . import tiff_tags as tag
from .jpeg import DAMAGED, decode_jpeg, read_stream
from .levels import Deep
from .resize import Image
from .tiff_tags import Tags

RAW, LZW, JPEG, PACKBITS, LZMA, ZSTD = 1, 5, 7, 32773, 34925, 50000
DEFLATE = (8, 32946)
DECODED = {RAW, LZW, JPEG, *DEFLATE, PACKBITS, LZMA, ZSTD}  # compressions that this module knows
GREY, RGB, PALETTE, YCC = (0, 1), 2, 3, 6

MAX_PIECE = 1 << 26  # pixels of a strip or tile
ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"  # a segment that says what the colours of a JPEG are


@dataclass(frozen=True)
class Piece:
    """What a strip or tile holds, but for a last strip: its width and height, and bytes per row."""

    width: int
    height: int
    row: int

    @property
    def size(self) -> int:
        """Bytes of its pixels."""
        return self.row * self.height


def piece_of(tags: Tags) -> Piece:
    """What each strip or tile of a picture holds.

    Raises:
        ImageError: One holds too many pixels.
    """
    width, height = tags.size
    if tag.TILES in tags:
        width, height = tags.one(tag.TILE_WIDTH, 0), tags.one(tag.TILE_HEIGHT, 0)
    else:
        height = min(tags.one(tag.ROWS_PER_STRIP, height), height)
    if width * height > MAX_PIECE:
        raise ImageError(f"has strips or tiles of {width}x{height} pixels, which need too much memory: export it again")
    samples = 1 if tags.one(tag.PLANAR, 1) == 2 else tags.one(tag.SAMPLES, 1)
    return Piece(width, height, (width * tags.bits * samples + 7) // 8)


def strips_of(tags: Tags) -> Iterator[tuple[int, int]]:
    """Start and size in bytes of each strip or tile.

    Raises:
        IncompleteError: Not each has its size.
        ImageError: The sizes are missing, and cannot be known.
    """
    starts, sizes = (tag.TILES, tag.TILE_SIZES) if tag.TILES in tags else (tag.STRIPS, tag.STRIP_SIZES)
    if starts in tags and sizes in tags:
        first, second = tags.all(starts), tags.all(sizes)
        if len(first) != len(second):
            pieces = "tiles" if tag.TILES in tags else "strips"
            raise IncompleteError(f"{DAMAGED}it has {len(first)} {pieces}, but {len(second)} sizes of {pieces}")
        yield from zip(first, second, strict=True)
    elif starts in tags and tags.one(tag.COMPRESSION, RAW) != RAW:
        raise ImageError("does not say how large its compressed strips or tiles are: export it again")
    elif starts in tags:  # old programs leave the sizes out
        piece, planar = piece_of(tags), tags.one(tag.PLANAR, 1) == 2
        last = tags.size[1] - (tags.size[1] - 1) // piece.height * piece.height
        count = len(tags.all(starts)) // (tags.one(tag.SAMPLES, 1) if planar else 1)
        for number, start in enumerate(tags.all(starts)):
            yield start, piece.row * (last if number % count == count - 1 else piece.height)


def checked_jpeg(strip: bytes, tags: Tags, piece: Piece) -> bytes:
    """The whole JPEG stream of a strip or tile.

    Raises:
        IncompleteError: It lacks a part, or is larger than the strip or tile.
        ImageError: Its colours are not what the TIFF says.
    """
    tables = tags.raw(tag.JPEG_TABLES)
    data = tables[:-2] + strip[2:] if tables else strip
    stream, photometric = read_stream(data), tags.one(tag.PHOTOMETRIC, RGB)
    if len(stream.components) not in (1, 3):
        raise ImageError(f"is a JPEG with {len(stream.components)} channels inside a TIFF: export it as RGB")
    if stream.width > piece.width or stream.height > piece.height:
        size, expected = f"{stream.width}x{stream.height}", f"{piece.width}x{piece.height}"
        raise IncompleteError(f"{DAMAGED}a strip or tile of {expected} pixels holds a JPEG of {size}")
    if photometric == RGB and (stream.seems_ycc or stream.jfif):
        raise ImageError("says that its colours are RGB, but they are stored as YCbCr: export it again")
    if photometric == YCC and stream.seems_rgb:
        raise ImageError("says that its colours are YCbCr, but they are stored as RGB: export it again")
    return data


def decode_pieces(strips: Sequence[bytes], tags: Tags, piece: Piece, rows: int, samples: int) -> Image | Deep:
    """Decode a tile, or strips that follow each other, of 8 or 16 bits per channel.

    Args:
        strips: Bytes of each.
        tags: What the file says of the picture.
        piece: What each strip or tile holds; the last one may hold less, or more than belongs to the picture.
        rows: How many of their rows belong to the picture.
        samples: Number of its channels.

    Returns:
        uint8 or uint16, (rows, W, samples); where there is a predictor, differences that are not yet added up.

    Raises:
        IncompleteError: One is damaged.
        ImageError: Its colours are not what the file says.
    """
    compression, deep = tags.one(tag.COMPRESSION, RAW), tags.bits == 16
    if compression == JPEG:
        return np.concatenate([_decode_jpeg(strip, tags, piece, samples) for strip in strips])[:rows]
    if compression in DEFLATE:
        strips = [_inflate(strip, piece.size) for strip in strips]
    elif compression != RAW:
        high = piece.height * len(strips) if tag.TILES in tags else rows
        strips = [_by_libtiff(strips, compression, piece, high, deep)]
    data = strips[0] if len(strips) == 1 else b"".join(strips)
    if len(data) < rows * piece.row or any(len(strip) != piece.size for strip in strips[:-1]):
        raise IncompleteError(f"{DAMAGED}a strip or tile is shorter than its pixels")
    kind = np.dtype(f"{tags.order}u2") if deep else np.dtype(np.uint8)
    return np.frombuffer(data, kind, rows * piece.row // kind.itemsize).reshape(rows, piece.width, samples)


def _decode_jpeg(data: bytes, tags: Tags, piece: Piece, samples: int) -> Image:
    data = checked_jpeg(data, tags, piece)
    if samples == 3:  # libjpeg guesses otherwise
        data = data[:2] + ADOBE + (b"\1" if tags.one(tag.PHOTOMETRIC, RGB) == YCC else b"\0") + data[2:]
    return decode_jpeg(data)[:, :, :samples]


def _inflate(data: bytes, size: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        found = inflate.decompress(data, size + 1)
    except zlib.error as error:
        raise IncompleteError(f"{DAMAGED}{error}") from None
    if len(found) > size:
        raise IncompleteError(f"{DAMAGED}a strip or tile holds more than its pixels")
    if not inflate.eof:
        raise IncompleteError(f"{DAMAGED}a strip or tile ends before its compressed data do")
    return found


def _by_libtiff(strips: Sequence[bytes], compression: int, piece: Piece, rows: int, deep: bool) -> bytes:
    """Decompress: for libtiff it is a grey picture, whose values are the bytes that come out, or pairs of them."""
    width, bits = (piece.row // 2, 16) if deep else (piece.row, 8)
    starts = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    lists, after = b"", 8 + sum(map(len, strips))
    values = {256: width, 257: rows, 258: bits, 259: compression, 262: 1, 277: 1, 278: min(rows, piece.height)}
    count = len(strips)
    if count > 1:
        lists = struct.pack(f"<{2 * count}I", *starts, *map(len, strips))
        values |= {273: after, 279: after + 4 * count}
    else:
        values |= {273: starts[0], 279: len(strips[0])}
    entries = b"".join(
        struct.pack("<HHII", number, 4, count if number in (273, 279) else 1, value)
        for number, value in sorted(values.items())
    )
    header = b"II*\0" + struct.pack("<I", after + len(lists))
    file = b"".join([header, *strips, lists, struct.pack("<H", len(values)), entries, bytes(4)])
    try:
        with PIL.Image.open(io.BytesIO(file), formats=("TIFF",)) as image:
            return image.tobytes()
    except OSError as error:
        raise IncompleteError(f"{DAMAGED}{error}") from None
