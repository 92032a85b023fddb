"""Makes `splits/pbc-all.csv`: `splits/pbc.csv` and further cells of the same data set, in one folder.

python benchmarks/extend_split.py DATA_DIR

No row of `pbc.csv` changes. Of the further cells some go to `calibrate`, the others to `fit`.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

from cartcls.calibration.split import apportion, class_of, leading_letters, list_images, read_split, shuffled_names
from cartcls.runtime.errors import DataError

SPLITS = Path(__file__).resolve().parent.parent / "splits"
SEED = 0
CALIBRATE = {"neutrophil": 600, "ig": 500}  # further cells, where most mistakes are made
CALIBRATE_OTHER = 97  # of each other class that has further cells


def extended(parts: dict[str, str], paths: list[str]) -> dict[str, str]:
    """Parts of all images, with those of `parts` as they are.

    Args:
        parts: Part by path.
        paths: All images, those too.
    """
    if missing := sorted(parts.keys() - set(paths)):
        raise DataError(f"{len(missing)} cells of pbc.csv are not there ({missing[0]}, …): copy both folders into one")
    further: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(set(paths) - parts.keys()):
        further[class_of(path)][leading_letters(path)].append(path)
    chosen = []
    for name, strata in further.items():
        for letters, count in apportion(strata, CALIBRATE.get(name, CALIBRATE_OTHER)).items():
            chosen += shuffled_names(strata[letters], SEED)[:count]
    return {path: parts.get(path, "calibrate" if path in chosen else "fit") for path in sorted(paths)}


def main(data_dir: Path) -> None:
    """Write `splits/pbc-all.csv` beside `pbc.csv`."""
    parts = extended(read_split(SPLITS / "pbc.csv").parts, list_images(data_dir))
    with (SPLITS / "pbc-all.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "part"])
        writer.writerows(parts.items())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
