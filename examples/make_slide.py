"""Makes `slide-01` again: the first four cells of each class, in SHA-256 order, of the part `report` of the split.

python examples/make_slide.py DATA_DIR
"""

import csv
import hashlib
import sys
from pathlib import Path

from cartcls.calibration.split import class_of, read_split

HERE = Path(__file__).parent
PER_CLASS = 4


def main(data_dir: Path) -> None:
    """Copy the cells under neutral names, in SHA-256 order over all classes, and write `labels.csv`."""
    paths = read_split(HERE.parent / "splits" / "pbc.csv").paths("report")
    by_digest = sorted((hashlib.sha256((data_dir / path).read_bytes()).hexdigest(), path) for path in paths)
    chosen = []
    for name in sorted({class_of(path) for path in paths}):
        chosen += [entry for entry in by_digest if class_of(entry[1]) == name][:PER_CLASS]
    slide = HERE / "slide-01"
    slide.mkdir(exist_ok=True)
    with (slide / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "label", "source", "sha256"])
        for number, (digest, path) in enumerate(sorted(chosen), 1):
            name = f"cell-{number:02d}.jpg"
            (slide / name).write_bytes((data_dir / path).read_bytes())
            writer.writerow([name, class_of(path), path, digest])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
