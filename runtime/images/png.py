"""PNG files: checksums, which Pillow skips, and chunks for which it refuses a whole picture."""

import zlib
from collections.abc import Iterator

from ..errors import IncompleteError
from .jpeg import DAMAGED

SIGNATURE = 8
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
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


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk to the end marker, and where its body starts and ends."""
    position, kind = SIGNATURE, b""
    while position + 8 <= len(data) and kind != b"IEND":
        size, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        yield kind, position + 8, position + 8 + size
        position += 12 + size
