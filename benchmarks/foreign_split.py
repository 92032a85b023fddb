"""Split each foreign set once into a half to choose by and a half for the figures: splits/foreign.csv.

    python benchmarks/foreign_split.py DATA

DATA holds foreign/tecom, foreign/cvblog and foreign/bccd. The page docs/results/foreign.md says when the halves for the
figures were opened.
"""

import csv
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from outputs import FOREIGN, ROOT, SETS

from cartcls.calibration.split import choose_part, class_of

FILE = ROOT / "splits" / "foreign.csv"
CHOOSE, REPORT = "choose", "report"
SEED = 0


def halves(paths: Iterable[str]) -> dict[str, str]:
    """Half of each cell of one set, stratified by class; no two cells of these sets are known to be of one field.

    Args:
        paths: Class and file name of each, `/`-separated.
    """

    def shuffled(path: str) -> tuple[str, bytes]:
        return class_of(path), hashlib.sha256(f"{SEED}:{path}".encode()).digest()

    return {path: (REPORT, CHOOSE)[i % 2] for i, path in enumerate(sorted(paths, key=shuffled))}


def read_halves(file: Path = FILE) -> dict[str, str]:
    """Half of each cell of all sets, by its set, class and file name, `/`-separated."""
    with file.open(newline="", encoding="utf-8") as handle:
        return {f"{row['set']}/{row['path']}": row["half"] for row in csv.DictReader(handle)}


def main() -> None:
    """Write the split; copies of a cell, byte for byte, are left out."""
    with FILE.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["set", "path", "half"])
        for name in FOREIGN:
            paths, _ = choose_part(Path(sys.argv[1]) / SETS[name], None, name, print)
            writer.writerows([name, path, half] for path, half in sorted(halves(paths).items()))


if __name__ == "__main__":
    main()
