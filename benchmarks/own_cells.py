"""What `cartcls adapt` gives with few labelled cells of another laboratory: heads on drawn labels, tested on the rest.

    python benchmarks/own_cells.py DATA --cache CACHE_DIR

DATA holds `foreign`, the sets of splits/foreign.csv, all cells of which are used. The page goes to
docs/results/own-cells.md. The sets name no slides, so each cell counts as a slide of its own.
"""

import argparse
import csv
import pickle
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from outputs import FOREIGN
from threadpoolctl import threadpool_limits

from cartcls.calibration.adapt import adapt, fit_own_head
from cartcls.calibration.adapted_head import HomeCells, read_home_cells
from cartcls.calibration.adjustment import with_adjustment
from cartcls.calibration.cross_validation import LabelledCells
from cartcls.calibration.evidence import Evidence
from cartcls.calibration.head import Head
from cartcls.calibration.judged import judge
from cartcls.calibration.own_cells import FOLDS, OwnCells
from cartcls.calibration.split import class_of
from cartcls.calibration.views import gather_views
from cartcls.export.reheaded import check_reheadable
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.bundle.calibration import enough_to_estimate
from cartcls.runtime.bundle.review import Gaussians

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "own-cells.md"
SIZES = (20, 50, 100, 200)
DRAWS = 200
FEWEST_TO_TEST = 40
MAX_ERROR = 0.05
ADJUSTED = ("tecom", "bccd")
ADJUSTMENTS = {"as it is": (False, False), "`--scale`": (True, False), "`--scale --stain`": (True, True)}

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Laboratory:
    """A set's cells of the classes that have enough of them, and what the bundle says of each.

    Attributes:
        left_out: How many cells are of other classes.
    """

    own: OwnCells
    left_out: int

    def of(self, chosen: Indices) -> OwnCells:
        """Some of the cells, each a slide of its own."""
        cells = self.own.cells
        paths = [cells.paths[i] for i in chosen]
        labels = LabelledCells(paths, cells.labels[chosen], cells.classes, paths)
        return OwnCells(self.own.directory, labels, self.own.views.of(chosen))

    def evidence(self, chosen: Indices, head: Head) -> Evidence:
        """What a head says of some of the cells."""
        logits, features = self.own.views.answers(head, chosen)
        qualities = [self.own.views.qualities[i] for i in chosen]
        return Evidence(self.own.cells.labels[chosen].astype(np.intp), logits, features, qualities)


@dataclass(frozen=True)
class Drawn:
    """What a head that was fitted on one draw of labels says of the other cells.

    Attributes:
        right: Share of them.
        passing: Share of them that is `ok`.
        wrong: Share of them that is `ok` and wrong.
        may_pass: Whether the head's own cross-validation lets cells be `ok`.
        estimate: Share of right ones by that.
    """

    right: float
    passing: float
    wrong: float
    may_pass: bool
    estimate: float


def laboratory(
    name: str, data: Path, bundle: Bundle, cache: Path, scale: bool = False, stain: bool = False
) -> Laboratory:
    """Cells of a set, adjusted or not; what the bundle says of them is computed once, and then from the cache."""
    with (ROOT / "splits" / "foreign.csv").open(newline="", encoding="utf-8") as file:
        every = sorted(row["path"] for row in csv.DictReader(file) if row["set"] == name)
    counts = Counter(class_of(path) for path in every)
    classes = sorted(folder for folder, count in counts.items() if count >= FOLDS)
    paths = [path for path in every if class_of(path) in classes]
    labels = np.array([classes.index(class_of(path)) for path in paths])
    directory = data / "foreign" / name
    cells = LabelledCells(paths, labels, classes, None)
    file = cache / f"{name}-{bundle.sha256[:8]}{'-scale' * scale}{'-stain' * stain}.pickle"
    if not file.exists():
        home = read_home_cells(bundle)
        if scale or stain:
            bundle = with_adjustment(bundle, directory, cells, home, scale, stain, lambda line: print(name, line))
        with Classifier(bundle, "openvino") as classifier:
            views = gather_views([directory / path for path in paths], classifier, lambda done, count: None)
        cache.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(views))
    views = pickle.loads(file.read_bytes())
    return Laboratory(OwnCells(directory, cells, views), len(every) - len(paths))


def draw(labels: npt.NDArray[np.integer], size: int, random: np.random.Generator) -> Indices:
    """Draw cells: as few of each class as folds, the others at random."""
    order = random.permutation(len(labels))
    first = np.concatenate([order[labels[order] == label][:FOLDS] for label in np.unique(labels)])
    return np.concatenate([first, order[~np.isin(order, first)]])[:size]


def tested(seed: int, size: int, cells: Laboratory, usual: Gaussians, home: HomeCells) -> Drawn:
    """Adapt with one draw of labels, and test with the other cells."""
    labels = cells.own.cells.labels
    chosen = draw(labels, size, np.random.default_rng(seed))
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    adapted = adapt(cells.of(chosen), usual, home, MAX_ERROR)
    found = cells.evidence(rest, adapted.head)
    judged = judge(adapted.calibration, found, adapted.temperature)
    may_pass = adapted.promise.reached and enough_to_estimate(size, size)
    passes = judged.passes & may_pass
    return Drawn(
        right=float(judged.correct.mean()),
        passing=float(passes.mean()),
        wrong=float((passes & ~judged.correct).mean()),
        may_pass=may_pass,
        estimate=float((adapted.out_of_fold.logits[0].argmax(1) == labels[chosen]).mean()),
    )


def right_by_head(seed: int, size: int, cells: Laboratory, usual: Gaussians, home: HomeCells) -> float:
    """Share of the other cells that a head is right of, with one draw of labels."""
    labels = cells.own.cells.labels
    chosen = draw(labels, size, np.random.default_rng(seed))
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    head = fit_own_head(cells.own, chosen, usual, home.of(cells.own.cells.classes))
    return float((cells.own.views.answers(head, rest)[0].argmax(1) == labels[rest]).mean())


def adjusted_rows(
    data: Path, bundle: Bundle, cache: Path, usual: Gaussians, home: HomeCells, pool: ProcessPoolExecutor
) -> list[str]:
    """Lines of the table of adjustments."""
    rows = []
    for name in ADJUSTED:
        found = [laboratory(name, data, bundle, cache, *adjust) for adjust in ADJUSTMENTS.values()]
        for size in SIZES:
            values = []
            for cells in found:
                run = partial(right_by_head, size=size, cells=cells, usual=usual, home=home)
                right = np.array(list(pool.map(run, range(DRAWS), chunksize=50)))
                values.append(f"{right.mean():.1%} ({np.quantile(right, 0.05):.1%}; {right.min():.1%})")
            rows.append(f"| {name} | {size} | {' | '.join(values)} |")
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def row(name: str, size: int, drawn: Sequence[Drawn]) -> str:
    """One line of the table."""
    right, wrong = np.array([one.right for one in drawn]), np.array([one.wrong for one in drawn])
    may = np.array([one.may_pass for one in drawn])
    values = [
        name,
        f"{size}",
        f"{right.mean():.1%} ({np.quantile(right, 0.05):.1%}; {right.min():.1%})",
        f"{np.mean([one.estimate for one in drawn]):.1%}",
        f"{may.mean():.0%}",
    ]
    if may.any():
        passing = np.array([one.passing for one in drawn])[may]
        values += [
            f"{passing.mean():.1%}",
            f"{wrong[may].mean():.2%} ({wrong[may].max():.2%})",
            f"{(wrong[may] <= MAX_ERROR).mean():.1%}",
        ]
    else:
        values += ["0.0%", "–", "–"]
    return f"| {' | '.join(values)} |"


def main(data: Path, cache: Path) -> None:
    """Draw, adapt, test, and write the page."""
    bundle = load_bundle()
    usual, home = check_reheadable(bundle, cache / "none"), read_home_cells(bundle)
    rows, notes = [], []
    with ProcessPoolExecutor(initializer=threadpool_limits, initargs=(1,)) as pool:
        for name in FOREIGN:
            cells = laboratory(name, data, bundle, cache)
            notes.append(f"{name} {len(cells.own.cells.labels)} ({cells.left_out} left out)")
            for size in SIZES:
                if len(cells.own.cells.labels) - size < FEWEST_TO_TEST:
                    continue
                run = partial(tested, size=size, cells=cells, usual=usual, home=home)
                rows.append(row(name, size, list(pool.map(run, range(DRAWS), chunksize=10))))
                print(rows[-1], file=sys.stderr, flush=True)
        adjusted = adjusted_rows(data, bundle, cache, usual, home, pool)
    RESULT.write_text(page(bundle, rows, notes, adjusted), encoding="utf-8")


def page(bundle: Bundle, rows: list[str], notes: list[str], adjusted: list[str]) -> str:
    """The result as Markdown."""
    lines = [
        "# Few labelled cells of another laboratory",
        "",
        f"    python benchmarks/own_cells.py DATA --cache CACHE_DIR        # {date.today()}",
        "",
        f"{bundle.name} (`bundle.json` {bundle.sha256[:16]}…), adapted as `cartcls adapt` does it. Each row:"
        f" {DRAWS} draws of so many labels, at least {FOLDS} of each class, tested on all other cells. Cells of"
        f" classes with fewer than {FOLDS} are left out: {', '.join(notes)}. The sets name no slides, so each"
        f" cell counts as a slide of its own; on new slides figures are worse. Settings of `adapt` were chosen"
        f" on half of these cells. The last three columns are of the draws in which cells may be `ok`.",
        "",
        "| set | labels | right: mean (5 % of draws below; worst) | by cross-validation | cells may be `ok` in"
        f" | then `ok` | `ok` and wrong, of all: mean (worst) | at most {MAX_ERROR:.0%} of all, in |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "## With `--scale` and `--stain`",
        "",
        "Right: mean (5 % of draws below; worst) of the same draws. The adjustment was found on all cells of the set.",
        "",
        f"| set | labels | {' | '.join(ADJUSTMENTS)} |",
        f"|---|---|{'---|' * len(ADJUSTMENTS)}",
        *adjusted,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    main(options.data, options.cache)
