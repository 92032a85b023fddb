"""Packs what a GPU without network needs into parts, small enough to send one by one: the bundle, then the crops.

    python benchmarks/gpu/pack.py CELLS

CELLS are the class folders that splits/pbc.csv was made of; only `fit` and `select` are packed, as they are. The parts
are written to `.gpu/parts`; `run.py` unpacks those that it finds there, whenever they come. The bundle is packed
without its 8-bit graph, which no GPU needs. With the parts, the tree may travel without `runtime/bundles/*/*.onnx`
(5 MB); `git checkout runtime/bundles` brings them back.
"""

import argparse
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from fitting import MANIFEST
from place import ROOT

from cartcls.calibration.split import class_of, read_split
from cartcls.runtime.bundle.bundle import INT8_MODEL, load_bundle, write_bundle
from cartcls.runtime.errors import DataError
from cartcls.runtime.inference.openvino_backend import MIXED
from cartcls.train.images import load_images

PART_BYTES = 55 * 1024**2
ENTRY_BYTES = 200  # of a zip file for each file in it, at most, besides its name twice
PARTS = ("select", "fit")


def main() -> None:
    """Pack, and print the size of each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path)
    options = parser.parse_args()
    for part in pack(options.cells, ROOT / "splits" / "pbc.csv", ROOT / ".gpu" / "parts"):
        print(f"{part}: {part.stat().st_size:,} bytes")


def pack(cells: Path, split_file: Path, out: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Write the parts.

    Args:
        cells: Folder with one folder per class.
        split_file: Split file of it.
        out: Folder for the parts, which is emptied.
        part_bytes: Largest size of a part.

    Raises:
        DataError: A file is larger than a part, or the cells or the split cannot be used.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    written: list[Path] = []
    archive, size = None, part_bytes
    for name, data in _contents(cells, split_file):
        needed = len(data) + ENTRY_BYTES + 2 * len(name.encode())
        if needed + ENTRY_BYTES > part_bytes:
            raise DataError(f"{name} has {len(data):,} bytes: more than a part of {part_bytes:,}")
        if size + needed > part_bytes:
            if archive:
                archive.close()
            written.append(out / f"part-{len(written) + 1}.zip")
            archive, size = zipfile.ZipFile(written[-1], "w", zipfile.ZIP_STORED), ENTRY_BYTES
        assert archive
        archive.writestr(name, data)
        size += needed
    if archive:
        archive.close()
    return written


def _contents(cells: Path, split_file: Path) -> Iterator[tuple[str, bytes]]:
    split = read_split(split_file)
    classes = sorted({class_of(path) for path in split.parts})
    digests = {
        part: load_images(cells, split.paths(part), classes, (8, 8)).sha256
        for part in ("fit", "select", "calibrate", "report")
    }
    manifest = {"split_sha256": split.sha256, "data_sha256": digests}
    yield MANIFEST, json.dumps(manifest, indent=2).encode()
    yield "split.csv", split_file.read_bytes()
    for name, data in bundle_files().items():
        yield f"bundle/{name}", data
    for part in PARTS:
        for path in split.paths(part):
            yield f"cells/{path}", (cells / path).read_bytes()


def bundle_files() -> dict[str, bytes]:
    """The shipped bundle without its 8-bit graph, by file name."""
    bundle = load_bundle()
    manifest = bundle.manifest
    files = {name: bundle.file(name).read() for name in manifest.files if name != INT8_MODEL}
    precision = msgspec.structs.replace(manifest.precision, cpu=MIXED)
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder), msgspec.structs.replace(manifest, precision=precision), files)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}


if __name__ == "__main__":
    main()
