"""Makes `slide-01` again: a natural mix of cells, drawn at random from the part `report` of the split.

python examples/make_slide.py DATA_DIR
"""

import csv
import hashlib
import random
import sys
from pathlib import Path

from cartcls.calibration.split import class_of, read_split

HERE = Path(__file__).parent
SEED = 18
COUNTS = {  # 60 leukocytes, in shares of healthy adults, and one immature granulocyte and one erythroblast
    "neutrophil": 36,
    "lymphocyte": 16,
    "monocyte": 4,
    "eosinophil": 2,
    "basophil": 1,
    "ig": 1,
    "erythroblast": 1,
    "platelet": 3,
}


def main(data_dir: Path) -> None:
    """Copy the cells under neutral names, in SHA-256 order over all classes, and write `labels.csv`."""
    paths = read_split(HERE.parent / "splits" / "pbc.csv").paths("report")
    draw = random.Random(SEED)
    chosen = []
    for name, count in COUNTS.items():
        for path in draw.sample(sorted(path for path in paths if class_of(path) == name), count):
            chosen.append((hashlib.sha256((data_dir / path).read_bytes()).hexdigest(), path))
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
