"""The cost of the ledger: `batch` and the same pipeline without ledger and table, in turn on the same crops.

    python benchmarks/ledger_cost.py DATA [CROPS] [ROUNDS]

DATA holds the class folders that splits/pbc.csv was made of; only its part `fit` is used. Nothing else may run
at the same time.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cpu import copy_crops

from cartcls.calibration.split import read_split
from cartcls.runtime import Classifier
from cartcls.runtime.images.discover import find_images
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.reports.page import PAGE, render_page
from cartcls.runtime.reports.summary import summarize
from cartcls.runtime.reports.table import CSV, write_csv
from cartcls.runtime.slides.batch import classify_images, classify_slide, describe_run

SPLIT = Path(__file__).resolve().parents[1] / "splits" / "pbc.csv"
LIMIT = 1.05


def main(data: Path, count: int, rounds: int) -> None:
    """Run both in turn, and compare the medians."""
    ways: dict[Callable[[Path, Path, Classifier], None], list[float]] = {without_ledger: [], with_ledger: []}
    with Classifier(backend="openvino") as classifier, tempfile.TemporaryDirectory(prefix="cartcls-ledger-") as folder:
        paths = read_split(SPLIT).paths("fit")
        crops = copy_crops([data / path for path in paths[:: len(paths) // count]], count, Path(folder) / "crops")
        without_ledger(crops, Path(folder) / "warm-up", classifier)
        for number in range(rounds):
            for way, seconds in ways.items():
                started = time.monotonic()
                way(crops, Path(folder) / f"{way.__name__}-{number}", classifier)
                seconds.append(time.monotonic() - started)
                print(f"{way.__name__}: {seconds[-1]:.2f} s", file=sys.stderr)
    plain, whole = (statistics.median(seconds) for seconds in ways.values())
    print(
        f"{count} crops, medians of {rounds}: {plain:.2f} s without a ledger, {whole:.2f} s with it: ratio"
        f" {whole / plain:.3f} (limit {LIMIT})"
    )
    raise SystemExit(whole / plain > LIMIT)


def without_ledger(crops: Path, out: Path, classifier: Classifier) -> None:
    """Classify, then write table, summary and page once."""
    out.mkdir()
    cells = classify_images(crops, list(find_images(crops, out)), out, classifier)
    bundle, run = classifier.bundle, describe_run(crops, classifier.backend)
    write_csv(out / CSV, bundle, run, cells)
    page = render_page(bundle, "", cells, summarize(bundle, run, cells), has_maps=False)
    (out / PAGE).write_text(page, encoding="utf-8")


def with_ledger(crops: Path, out: Path, classifier: Classifier) -> None:
    """The same as `cartcls batch`."""
    with open_ledger(out, classifier.bundle) as ledger:
        classify_slide(crops, out, classifier, ledger)


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[2:]]
    main(Path(sys.argv[1]), *(arguments + [150, 3][len(arguments) :]))
