"""The time of the checks as a share of `cartcls batch`, in one run.

    python benchmarks/checks.py DATA_DIR [BUNDLE]

The page goes to docs/results/checks.md. Both are processor times, so that other processes do not count.
"""

import random
import shutil
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from clock import time_calls

from cartcls.calibration.split import read_split
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import SHIPPED
from cartcls.runtime.images import reading
from cartcls.runtime.inference import predictions
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.slides.batch import classify_slide

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "checks.md"
COUNT, SEED, LIMIT = 400, 0, 0.05


def main(data_dir: Path, bundle_dir: Path) -> None:
    """Classify crops of `fit` as `cartcls batch` does, and time the checks."""
    classifier = Classifier(bundle_dir)
    if classifier.bundle.calibration is None:
        sys.exit(f"{bundle_dir} is not calibrated, so nothing is checked: run `cartcls calibrate` first")
    files = [data_dir / path for path in read_split(ROOT / "splits" / "pbc.csv").paths("fit")]
    measured = time_calls(reading, "measure", time.thread_time)
    assessed = time_calls(predictions, "assess", time.thread_time)
    with tempfile.TemporaryDirectory(prefix="cartcls-checks-") as work:
        crops, out = Path(work) / "crops", Path(work) / "out"
        crops.mkdir()
        for number, file in enumerate(random.Random(SEED).sample(files, COUNT)):
            shutil.copyfile(file, crops / f"{number:05d}.jpg")
        with classifier, open_ledger(out, classifier.bundle) as ledger:
            wall, processor = time.perf_counter(), time.process_time()
            classify_slide(crops, out, classifier, ledger)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
    checks, backend = sum(measured) + sum(assessed), classifier.backend
    lines = [
        "# Time of the checks",
        "",
        f"    python benchmarks/checks.py DATA_DIR        # {date.today()}",
        "",
        f"{COUNT} crops of the part `fit` through what `cartcls batch` runs, by {backend.name} ({backend.precision}),"
        f" in one run of {wall:.1f} s. Of {processor:.1f} s of processor time the checks took {checks:.2f} s:"
        f" **{checks / processor:.1%}** (limit {LIMIT:.0%}), {1000 * checks / COUNT:.2f} ms for each cell.",
        "",
        "| check | ms for each cell |",
        "|---|---|",
        f"| picture: focus, exposure, stain, noise, compression, cell, border | {_per_cell(measured)} |",
        f"| distances, limits, threshold | {_per_cell(assessed)} |",
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    sys.exit(checks / processor > LIMIT)


def _per_cell(times: list[float]) -> str:
    return f"{1000 * sum(times) / COUNT:.2f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else SHIPPED)
