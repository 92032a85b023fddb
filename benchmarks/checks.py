"""The time of the checks, and of what a slide says of its cells, as a share of `cartcls batch`, in one run.

    python benchmarks/checks.py DATA_DIR [BUNDLE]

The page goes to docs/results/checks.md. All are processor times, so that other processes do not count.
"""

import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from clock import time_calls

from cartcls.calibration.natural import NATURAL
from cartcls.calibration.split import class_of, read_split
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import SHIPPED
from cartcls.runtime.images import reading
from cartcls.runtime.inference import predictions
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.reports import slide_review, summary, table
from cartcls.runtime.slides import slide
from cartcls.runtime.slides.batch import classify_slide

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "checks.md"
COUNT, SEED, LIMIT = 400, 0, 0.05
OF_CELLS = {
    "picture: focus, exposure, stain, noise, compression, cell, border": [(reading, "measure")],
    "distances, limits, threshold": [(predictions, "assess")],
}
OF_SLIDE = {
    "alarm": [(slide_review, "take_looks")],
    "classes that are rare": [(slide, "review_of"), (table, "review_of"), (slide_review, "review_of")],
    "rows as their slide makes them": [(slide_review.SlideReview, "applied_to")],
    "table, written again where that changes": [(table, "rebuild")],
    "estimate": [(summary, "estimate")],
}


def main(data_dir: Path, bundle_dir: Path) -> None:
    """Classify crops of `fit` as `cartcls batch` does, and time the parts."""
    classifier = Classifier(bundle_dir)
    if classifier.bundle.calibration is None:
        sys.exit(f"{bundle_dir} is not calibrated, so nothing is checked: run `cartcls calibrate` first")
    files = [data_dir / path for path in natural(read_split(ROOT / "splits" / "pbc.csv").paths("fit"), COUNT)]
    times = {
        part: [time_calls(owner, name, time.thread_time) for owner, name in functions]
        for part, functions in {**OF_CELLS, **OF_SLIDE}.items()
    }
    with tempfile.TemporaryDirectory(prefix="cartcls-checks-") as work:
        crops, out = Path(work) / "crops", Path(work) / "out"
        crops.mkdir()
        for number, file in enumerate(files):
            shutil.copyfile(file, crops / f"{number:05d}.jpg")
        with classifier, open_ledger(out, classifier.bundle) as ledger:
            wall, processor = time.perf_counter(), time.process_time()
            classify_slide(crops, out, classifier, ledger)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
    (written,) = times["table, written again where that changes"]
    del written[0]  # the first time, which every slide needs
    seconds = {part: sum(map(sum, calls)) for part, calls in times.items()}
    of_cells, of_slide = (sum(seconds[part] for part in parts) / processor for parts in (OF_CELLS, OF_SLIDE))
    backend = classifier.backend
    lines = [
        "# Time of the checks",
        "",
        f"    python benchmarks/checks.py DATA_DIR        # {date.today()}",
        "",
        f"A slide of {len(files)} crops of the part `fit` in a natural mix through what `cartcls batch` runs, by"
        f" {backend.name} ({backend.precision}), in one run of {wall:.1f} s: {processor:.1f} s of processor time. Of"
        f" that the checks of cells took **{of_cells:.1%}**, and what the slide says of them **{of_slide:.2%}** (limit"
        f" for both {LIMIT:.0%}). The table was written again {len(written)} times; the parts of the slide overlap a"
        " little, so that their sum is rather too large.",
        "",
        "| part | ms for each cell |",
        "|---|---|",
        *(f"| {part} | {1000 * spent / len(files):.3f} |" for part, spent in seconds.items()),
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    sys.exit(of_cells + of_slide > LIMIT)


def natural(paths: Sequence[str], count: int) -> list[str]:
    """Some of the paths in a natural mix of their classes, shuffled."""
    shuffled = random.Random(SEED)
    by_class = {name: [path for path in paths if class_of(path) == name] for name in NATURAL}
    chosen = [path for name, share in NATURAL.items() for path in shuffled.sample(by_class[name], round(share * count))]
    return shuffled.sample(chosen, len(chosen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else SHIPPED)
