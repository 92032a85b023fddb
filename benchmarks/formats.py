"""40 cells in the formats of microscope cameras beside their 8-bit originals; and 400 megapixels, read by tiles.

    python benchmarks/formats.py DATA_DIR

The tables go to docs/results/formats.md. Cells are of the part `select` of splits/pbc-all.csv.
"""

import io
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from memory import peak_memory

from cartcls.calibration.split import read_split
from cartcls.runtime import Classifier
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.levels import FULL_RANGE, Levels
from cartcls.runtime.images.tiff_draw import Box, read_region
from cartcls.runtime.images.tiff_pages import full_size

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "formats.md"
CELLS, SEED, LIMIT = 40, 0, 0.01
TILE, TILES = 1024, 20

Pixels = npt.NDArray[np.uint8]
Deep = npt.NDArray[np.uint16]
TWELVE = Levels(0, 4095)


def main(data_dir: Path) -> None:
    """Write, classify, compare; then read a large picture."""
    paths = random.Random(SEED).sample(read_split(ROOT / "splits" / "pbc-all.csv").paths("select"), CELLS)
    files = [data_dir / path for path in paths]
    large = _large(read_image(files[0])[0])  # before the model takes memory
    lines = [
        "# Formats of microscope cameras",
        "",
        f"    python benchmarks/formats.py DATA_DIR        # {date.today()}",
        "",
        f"{CELLS} cells of the part `select` of splits/pbc-all.csv (the labels are not used), written in each format,"
        " beside their 8-bit originals, with the shipped bundle: labels that differ, and the largest difference of a"
        " probability.",
        "",
        "| format | labels that differ | max. abs(Δp) |",
        "|---|---|---|",
    ]
    with Classifier() as classifier, tempfile.TemporaryDirectory(prefix="cartcls-formats-") as work:
        expected = list(classifier.predict(files))
        failed = False
        for name, (suffix, write, levels) in FORMS.items():
            made = [Path(work) / f"{number}{suffix}" for number in range(CELLS)]
            for file, path in zip(files, made, strict=True):
                path.write_bytes(write(read_image(file)[0]))
            classifier.levels = levels
            found = list(classifier.predict(made))
            pairs = list(zip(expected, found, strict=True))
            labels = sum(one.label != other.label for one, other in pairs)
            moved = max(float(np.abs(one.probabilities - other.probabilities).max()) for one, other in pairs)
            failed |= labels > 0 or moved > LIMIT
            lines.append(f"| {name} | {labels} | {moved:.4f} |")
    lines += ["", large]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    sys.exit(failed)


def _full(pixels: Pixels) -> Deep:
    return pixels.astype(np.uint16) * 257


def _with_low_bytes(pixels: Pixels) -> Deep:
    """As of a camera of 16 bits: what one of 8 bits would have cut off is there."""
    low = np.random.default_rng(SEED).integers(0, 256, pixels.shape)
    return (pixels.astype(np.uint32) * 256 + low).astype(np.uint16)


def _twelve(pixels: Pixels) -> Deep:
    return np.rint(pixels * (TWELVE.white / 255)).astype(np.uint16)


def _png(deep: Deep) -> bytes:
    return cv2.imencode(".png", deep[:, :, ::-1])[1].tobytes()


def _lzw(deep: Deep) -> bytes:
    return cv2.imencode(".tif", deep[:, :, ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW])[
        1
    ].tobytes()


def _tiff(pixels: Pixels | Deep, ome: bool = False, axes: str = "YXS", tile: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=ome, bigtiff=tile is not None) as writer:
        writer.write(pixels, photometric="rgb", tile=tile, metadata={"axes": axes})
    return file.getvalue()


def _stack(pixels: Pixels) -> bytes:
    """Five planes, of which the fourth one is sharp."""
    planes = [pixels if z == 3 else cv2.GaussianBlur(pixels, (0, 0), 1.5 * abs(z - 3)) for z in range(5)]
    return _tiff(np.stack([_full(np.asarray(plane, np.uint8)) for plane in planes]), ome=True, axes="ZYXS")


FORMS: dict[str, tuple[str, Callable[[Pixels], bytes], Levels]] = {
    "PNG, 16 bits": (".png", lambda pixels: _png(_full(pixels)), FULL_RANGE),
    "PNG, 16 bits, low bytes at random": (".png", lambda pixels: _png(_with_low_bytes(pixels)), FULL_RANGE),
    "PNG, 12 of 16 bits, `--white 4095`": (".png", lambda pixels: _png(_twelve(pixels)), TWELVE),
    "TIFF, 16 bits": (".tif", lambda pixels: _tiff(_full(pixels)), FULL_RANGE),
    "TIFF, 16 bits, low bytes at random": (".tif", lambda pixels: _tiff(_with_low_bytes(pixels)), FULL_RANGE),
    "TIFF, 16 bits, LZW": (".tif", lambda pixels: _lzw(_full(pixels)), FULL_RANGE),
    "TIFF, 12 of 16 bits, `--white 4095`": (".tif", lambda pixels: _tiff(_twelve(pixels)), TWELVE),
    "BigTIFF, 16 bits, tiles": (".tif", lambda pixels: _tiff(_full(pixels), tile=(128, 128)), FULL_RANGE),
    "OME-TIFF, 8 bits": (".ome.tif", lambda pixels: _tiff(pixels, ome=True), FULL_RANGE),
    "OME-TIFF, 16 bits": (".ome.tif", lambda pixels: _tiff(_full(pixels), ome=True), FULL_RANGE),
    "OME-TIFF, 16 bits, five planes": (".ome.tif", _stack, FULL_RANGE),
}


def _large(cell: Pixels) -> str:
    """Read every part of a tiled picture of 400 megapixels, and say what it cost."""
    tile = np.full((TILE, TILE, 3), 230, np.uint8)
    tile[: cell.shape[0], : cell.shape[1]] = cell
    side = TILE * TILES
    file = io.BytesIO()
    packed = zlib.compress(tile.tobytes(), 1)
    with tifffile.TiffWriter(file, bigtiff=True) as writer:
        writer.write(
            iter([packed] * TILES**2),
            shape=(side, side, 3),
            dtype=np.uint8,
            tile=(TILE, TILE),
            photometric="rgb",
            compression="zlib",
        )
    page, started = full_size(file), time.process_time()
    for top in range(0, side, 2 * TILE):
        for left in range(0, side, 2 * TILE):
            read_region(file, page, Box(left, top, 2 * TILE, 2 * TILE))
    seconds, memory = time.process_time() - started, peak_memory() >> 20
    return (
        f"A tiled BigTIFF of {side}x{side} pixels, {page.pixels / 1e6:.0f} megapixels (deflate), read in"
        f" {(TILES // 2) ** 2} parts of {2 * TILE}x{2 * TILE}: {seconds:.1f} s of processor time,"
        f" {1e9 * seconds / page.pixels:.0f} ms per megapixel; the process took {memory} MB at most."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
