"""PNG files: checksums, which Pillow skips, chunks for which it refuses a whole picture, and 16 bits per channel."""

import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import PIL.Image

from ..errors import ImageError, IncompleteError
from .jpeg import DAMAGED
from .levels import FULL_RANGE, Levels

SIGNATURE = 8
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
MAX_DEEP = 20_000_000  # pixels of 16 bits per channel, which OpenCV has in memory twice
ROWS_AT_A_TIME = 64
TURNED_BY = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # texts that may hold the EXIF rotation


def check_png(data: bytes) -> None:
    """Raise `IncompleteError` where the end marker is missing, or a checksum is wrong."""
    for kind, start, end in _chunks(data):
        checksum = int.from_bytes(data[end : end + 4], "big")
        if end + 4 <= len(data) and zlib.crc32(memoryview(data)[start - 4 : end]) != checksum:
            raise IncompleteError(f"{DAMAGED}a checksum is wrong")
        if kind == b"IEND" and end + 4 <= len(data):
            return
    raise IncompleteError("is incomplete: the PNG end marker is missing")


def without_texts(data: bytes) -> bytes:
    """Leave out texts and the colour profile: Pillow refuses a picture where one of them is large."""
    parts, kept = [], 0
    for kind, start, end in _chunks(data):
        if kind == b"iCCP" or (kind in TEXTS and not data.startswith(TURNED_BY, start)):
            parts.append(data[kept : start - 8])
            kept = end + 4
    return b"".join([*parts, data[kept:]]) if parts else data


def png_profile(data: bytes, limit: int) -> bytes | None:
    """ICC profile, or as much of it as passes the limit; None where there is none, empty where it is damaged."""
    for kind, start, end in _chunks(data):
        if kind == b"iCCP":
            _, _, body = data[start:end].partition(b"\0")
            inflate = zlib.decompressobj()
            try:
                profile = inflate.decompress(body[1:], limit + 1)
            except zlib.error:
                return b""
            return profile if body[:1] == b"\0" and (inflate.eof or len(profile) > limit) else b""
    return None


def decode_deep_png(image: PIL.Image.Image, data: bytes, levels: Levels) -> PIL.Image.Image:
    """Decode a PNG of 16 bits per channel: Pillow reads only the high byte of colours.

    Args:
        image: As Pillow opened it; its pixels may be replaced.
        data: The whole file.
        levels: Values that are black and white.

    Returns:
        The picture with 8 bits per channel, of the mode L, RGB or RGBA.

    Raises:
        IncompleteError: It cannot be decoded.
        ImageError: It is too large, or its values are those of a camera of fewer bits.
    """
    if image.width * image.height > MAX_DEEP:
        size, most = f"{image.width}x{image.height}", MAX_DEEP // 1_000_000
        raise ImageError(f"has {size} pixels of 16 bits, more than {most} megapixels: export it with 8 bits")
    image.load()  # tells what is damaged; OpenCV writes it to the terminal
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16:
        raise IncompleteError(f"{DAMAGED}it cannot be decoded")
    deep = np.asarray(found, np.uint16).reshape(image.height, image.width, -1)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[deep.shape[2]]
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[len(order)]
    canvas = image if image.mode == mode else PIL.Image.new(mode, image.size)
    levels.check_used(int(deep[:, :, :3].max()))
    for top in range(0, image.height, ROWS_AT_A_TIME):
        rows = deep[top : top + ROWS_AT_A_TIME]
        scaled = levels.to_eight_bits(rows)
        scaled[:, :, 3:] = FULL_RANGE.to_eight_bits(rows[:, :, 3:])  # alpha
        canvas.paste(
            PIL.Image.fromarray(scaled[:, :, order].squeeze(2) if mode == "L" else scaled[:, :, order]), (0, top)
        )
    return canvas


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk to the end marker, and where its body starts and ends."""
    position, kind = SIGNATURE, b""
    while position + 8 <= len(data) and kind != b"IEND":
        size, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        yield kind, position + 8, position + 8 + size
        position += 12 + size
