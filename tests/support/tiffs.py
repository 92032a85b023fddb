"""TIFF files written byte by byte, as no library would; and by tifffile, in forms that Pillow does not write."""

import io
import struct
from collections.abc import Sequence
from typing import Any

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
