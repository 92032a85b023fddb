"""How long pictures of up to 400 megapixels take that are searched by tiles, in how much memory, and what is found.

    python benchmarks/large.py DATA --work FOLDER

DATA holds bccd/images. FOLDER takes the pictures, which are made of whole fields side by side: about 2 GB. The
part "Large pictures" of docs/results/fields.md is written.
"""

import argparse
import json
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import cv2
import numpy as np
from memory import peak_memory

from cartcls.runtime.fields.find import Found, find
from cartcls.runtime.fields.overlap import Shift, same_cells
from cartcls.runtime.fields.tiles import cut_in, diameter_in, find_in, overview
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.picture import open_picture
from cartcls.runtime.images.resize import Image

TILE = 512  # pixels
ROWS = 16  # of a strip
CROPS = 100  # cells that are cut out
SMALL, LARGE = (7168, 5120), (20_000, 20_000)  # width and height
PICTURES = [
    ("36 megapixels", SMALL, "JPEG tiles", 1.0),
    ("36 megapixels", SMALL, "deflate tiles", 1.0),
    ("400 megapixels", LARGE, "JPEG tiles", 1.0),
    ("400 megapixels", LARGE, "deflate tiles", 1.0),
    ("400 megapixels", LARGE, "deflate strips", 1.0),
    ("400 megapixels, fields at a third", LARGE, "JPEG tiles", 1 / 3),
]
PAGE = Path(__file__).resolve().parent.parent / "docs" / "results" / "fields.md"
TITLE = "## Large pictures"
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


def main() -> None:
    """Measure everything, and write the part of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    fields = [read_image(path)[0] for path in sorted((options.data / "bccd" / "images").glob("*.jpg"))]
    options.work.mkdir(parents=True, exist_ok=True)
    lines = [
        TITLE,
        "",
        f"    python benchmarks/large.py DATA --work FOLDER        # {date.today()}",
        "",
        "Fields of BCCD side by side as one TIFF of 8-bit RGB, searched by tiles in a process of its own, on one core;"
        " the crops are those of the first 100 cells.",
        "",
        "| picture | MB | red cell, px | overview, s | find, s | one crop, ms | peak memory, MB | cells |",
        "|" + "---|" * 8,
    ]
    for title, size, kind, scale in PICTURES:
        file = options.work / f"{size[0]}-{kind}-{scale:g}.tif"
        if not file.exists():
            KINDS[kind](file, Mosaic(fields, size, scale))
        command = [sys.executable, __file__, str(options.data), "--work", str(options.work), "--one", str(file)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        lines.append(f"| {title}, {kind} | {file.stat().st_size / 1e6:.0f} | " + " | ".join(found.values()) + " |")
        print(lines[-1], flush=True)
    lines += ["", compare(options.work / f"{SMALL[0]}-deflate tiles-1.tif", Mosaic(fields, SMALL, 1.0))]
    head, _, rest = PAGE.read_text(encoding="utf-8").partition("\n" + TITLE)
    _, heading, odd = rest.partition("\n## Odd fields")  # by odd_fields.py
    PAGE.write_text(head + "\n" + "\n".join(lines) + "\n" + heading + odd, encoding="utf-8")


class Mosaic:
    """Fields side by side, of which any part can be made: each row of them starts with another field."""

    def __init__(self, fields: list[Image], size: tuple[int, int], scale: float) -> None:
        self.fields = [cv2.resize(one, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for one in fields]
        self.width, self.height = size

    def part(self, left: int, top: int, width: int, height: int) -> Image:
        """RGB, uint8, (height, width, 3)."""
        high, wide = self.fields[0].shape[:2]
        rows = []
        for row in range(top // high, -(-(top + height) // high)):
            columns = range(left // wide, -(-(left + width) // wide))
            rows.append(np.hstack([self.fields[(row * 97 + column) % len(self.fields)] for column in columns]))
        y, x = top % high, left % wide
        return np.vstack(rows)[y : y + height, x : x + width]

    def tiles(self, encode: Callable[[Image], bytes]) -> Iterator[bytes]:
        """Each tile of a TIFF."""
        for top in range(0, self.height, TILE):
            for left in range(0, self.width, TILE):
                yield encode(np.ascontiguousarray(self.part(left, top, TILE, TILE)))


def _write(file: Path, width: int, height: int, pieces: Iterator[bytes], tags: dict[int, list[int]]) -> None:
    """Write a TIFF of 8-bit RGB; where its pieces lie is added to the tags."""
    sizes = []
    with file.open("wb") as out:
        out.write(b"II*\0" + bytes(4))
        for piece in pieces:
            sizes.append(out.write(piece))
        starts = (8 + np.cumsum([0, *sizes[:-1]])).tolist()
        where = (324, 325) if 322 in tags else (273, 279)
        values = {256: [width], 257: [height], 258: [8, 8, 8], 277: [3], where[0]: starts, where[1]: sizes} | tags
        directory, entries = out.tell(), b""
        after = directory + 2 + 12 * len(values) + 4
        for number, found in sorted(values.items()):
            packed = struct.pack(f"<{len(found)}I", *found)
            if len(found) > 1:
                end = out.seek(0, 2)
                place = max(end, after)
                out.seek(place)
                out.write(packed)
                packed = struct.pack("<I", place)
            entries += struct.pack("<HHI", number, 4, len(found)) + packed
        out.seek(directory)
        out.write(struct.pack("<H", len(values)) + entries + bytes(4))
        out.seek(4)
        out.write(struct.pack("<I", directory))


def write_jpeg(file: Path, picture: Mosaic) -> None:
    """Tiles compressed by JPEG."""
    tiles = picture.tiles(lambda tile: cv2.imencode(".jpg", tile[:, :, ::-1], JPEG)[1].tobytes())
    _write(file, picture.width, picture.height, tiles, {259: [7], 262: [6], 322: [TILE], 323: [TILE]})


def write_deflate(file: Path, picture: Mosaic) -> None:
    """Tiles compressed by deflate."""
    tiles = picture.tiles(lambda tile: zlib.compress(tile.tobytes(), 1))
    _write(file, picture.width, picture.height, tiles, {259: [8], 262: [2], 322: [TILE], 323: [TILE]})


def write_strips(file: Path, picture: Mosaic) -> None:
    """Strips compressed by deflate."""
    strips = (
        zlib.compress(picture.part(0, top, picture.width, min(ROWS, picture.height - top)).tobytes(), 1)
        for top in range(0, picture.height, ROWS)
    )
    _write(file, picture.width, picture.height, strips, {259: [8], 262: [2], 278: [ROWS]})


KINDS = {"JPEG tiles": write_jpeg, "deflate tiles": write_deflate, "deflate strips": write_strips}


def measure(file: Path) -> dict[str, str]:
    """What one picture takes, in a process of its own."""
    with open_picture(file, whole=0) as picture:
        diameter = diameter_in(picture, whole=0) or 0.0
        start = time.perf_counter()
        overview(picture)
        shrunk = time.perf_counter()
        field = find_in(picture, diameter, whole=0)
        found = time.perf_counter()
        for cell in field.cells[:CROPS]:
            cut_in(picture, cell, diameter, field.empty, 85.0, 360, 363)
        end = time.perf_counter()
    return {
        "diameter": f"{diameter:.1f}",
        "overview": f"{shrunk - start:.1f}",
        "find": f"{found - shrunk:.1f}",
        "crop": f"{(end - found) / max(1, len(field.cells[:CROPS])) * 1000:.0f}",
        "memory": f"{peak_memory() / 1e6:.0f}",
        "cells": str(len(field.cells)),
    }


def compare(file: Path, picture: Mosaic) -> str:
    """Whether tiles give what the whole picture gives."""
    image = picture.part(0, 0, picture.width, picture.height)
    with open_picture(file, whole=0) as opened:
        diameter = diameter_in(opened, whole=0) or 0.0
        whole, tiles = find(image, diameter), find_in(opened, diameter, whole=0)
    shifted = find(np.ascontiguousarray(image[1:, 1:]), diameter).cells
    moved = [replace(cell, x=cell.x + 1, y=cell.y + 1) for cell in shifted]
    return (
        f"36 megapixels: {len(whole.cells)} cells found in the whole picture, {len(tiles.cells)} by tiles,"
        f" {_alike(whole.cells, tiles.cells, picture, diameter)}. For comparison, the whole picture without its first"
        f" row and column of pixels: {len(moved)} cells, {_alike(whole.cells, moved, picture, diameter)}."
    )


def _alike(first: Sequence[Found], second: Sequence[Found], picture: Mosaic, diameter: float) -> str:
    """How far the boxes of the same cells are apart."""
    size = picture.width, picture.height
    pairs = [(first[i], second[j]) for i, j in same_cells(first, second, Shift(0, 0, 1.0), size, size, diameter)]
    gaps = [_gap(one, other) for one, other in pairs]
    flags = sum((one.joined, one.at_edge) != (other.joined, other.at_edge) for one, other in pairs)
    middle, most = np.percentile(gaps, [50, 99])
    return (
        f"{len(pairs)} in both; sides of boxes differ by {middle:.0f} pixels (median), {most:.0f} (99th percentile) and"
        f" at most {max(gaps)}, flags of {flags}"
    )


def _gap(one: Found, other: Found) -> int:
    """How far the sides of two boxes are apart."""
    sides = [(cell.x, cell.y, cell.x + cell.w, cell.y + cell.h) for cell in (one, other)]
    return max(abs(first - second) for first, second in zip(*sides, strict=True))


if __name__ == "__main__":
    main()
