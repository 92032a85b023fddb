"""TIFF files written byte by byte, as no library would; and by tifffile, in forms that Pillow does not write."""

import io
import struct
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

Value = int | bytes | Sequence[int]


def write_tiff(strips: Sequence[bytes], width: int, height: int, **tags: Value) -> bytes:
    """Write a TIFF of 8-bit RGB in one piece or more, whose tags may be overridden by number: `t258=8`."""
    data, starts = b"II*\0\0\0\0\0", []
    for strip in strips:
        starts.append(len(data))
        data += strip
    values: dict[int, Value] = {256: width, 257: height, 258: (8, 8, 8), 259: 1, 262: 2, 273: starts, 277: 3}
    values |= {278: -(-height // len(strips)), 279: [len(strip) for strip in strips]}
    values |= {int(name[1:]): value for name, value in tags.items()}
    if 324 in values:  # tiles have the place of strips
        values = {tag: value for tag, value in values.items() if tag not in (273, 278, 279)}
    entries, extra, start = b"", b"", len(data) + 2 + 12 * len(values) + 4
    for tag, value in sorted(values.items()):
        kind, packed, count = _packed(value)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", start + len(extra)), extra + packed
        entries += struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0")
    return (
        data[:4] + struct.pack("<I", len(data)) + data[8:] + struct.pack("<H", len(values)) + entries + bytes(4) + extra
    )


def _packed(value: Value) -> tuple[int, bytes, int]:
    if isinstance(value, bytes):
        return 7, value, len(value)
    numbers = [value] if isinstance(value, int) else list(value)
    kind, code = (4, "I") if max(numbers) > 65535 else (3, "H")
    return kind, struct.pack(f"<{len(numbers)}{code}", *numbers), len(numbers)


Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.bool_]


def of_tifffile(*pages: Pixels, first: str = "", **options: Any) -> bytes:
    """Write pictures as tifffile does; `first` is the description of the first one, and the others are previews."""
    file = io.BytesIO()
    form = {name: options.pop(name) for name in ("bigtiff", "byteorder", "ome", "imagej") if name in options}
    with tifffile.TiffWriter(file, **form) as writer:
        for number, page in enumerate(pages):
            values = {"photometric": "rgb" if page.ndim > 2 else "minisblack"}
            if len(pages) > 1:
                values |= {"metadata": None, "subfiletype": int(number > 0)}
            if first and number == 0:
                values |= {"description": first.encode()}
            writer.write(page, **(values | options))
    return file.getvalue()


def tiled_jpeg(pixels: npt.NDArray[np.uint8], bigger: int = 0, **tags: int) -> bytes:
    """Tiles of 128 x 128 pixels, as YCbCr."""
    tiles = []
    for top in range(0, 384, 128):
        for left in range(0, 384, 128):
            tile = np.zeros((128 + bigger, 128, 3), np.uint8)
            part = pixels[top : top + 128, left : left + 128]
            tile[: len(part), : part.shape[1]] = part
            options = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
            tiles.append(cv2.imencode(".jpg", tile[:, :, ::-1], options)[1].tobytes())
    starts = np.cumsum([8, *map(len, tiles)]).tolist()[:-1]
    made = {"t324": starts, "t325": [len(tile) for tile in tiles], "t322": 128, "t323": 128, "t259": 7, "t262": 6}
    return write_tiff(tiles, 360, 363, **(made | tags))
