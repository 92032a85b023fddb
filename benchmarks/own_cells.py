"""What `cartcls adapt` gives with few labelled cells of another laboratory: heads on drawn labels, tested on the rest.

    python benchmarks/own_cells.py estimate|promise|look-alikes|adjusted DATA --cache CACHE_DIR

DATA holds `foreign`, the sets of splits/foreign.csv, all cells of which are used, and `ig2`, two classes that people
confuse. It prints a table of docs/results/own-cells.md, by 200 draws of labels for each row (`promise`: 600). The sets
name no slides, so each cell counts as a slide of its own.
"""

import argparse
import csv
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from outputs import FOREIGN
from threadpoolctl import threadpool_limits

from cartcls.calibration.adapt import adapt, fit_own_head
from cartcls.calibration.adapted_head import HomeCells, read_home_cells
from cartcls.calibration.adjustment import with_adjustment
from cartcls.calibration.calibrate import measure
from cartcls.calibration.cross_validation import LabelledCells, labelled_cells
from cartcls.calibration.evidence import Evidence
from cartcls.calibration.head import Head
from cartcls.calibration.judged import Judged, judge
from cartcls.calibration.own_cells import FOLDS, OwnCells
from cartcls.calibration.split import class_of
from cartcls.calibration.views import gather_views
from cartcls.export.classes import cell_classes
from cartcls.export.reheaded import check_reheadable
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.bundle.calibration import enough_to_estimate
from cartcls.runtime.bundle.review import Gaussians

ROOT = Path(__file__).resolve().parent.parent
SIZES = (20, 50, 100, 200)
DRAWS = range(200)
PROMISE_DRAWS = range(1_000, 1_600)  # others than those with which its scheme was chosen
FEWEST_TO_TEST = 40
HEAD = 100  # labels of a head that a promise is made for
FIT, DRAWN = 40, {"select": 40, "calibrate": 120}  # of the cells that it is made with
MAX_ERROR = 0.05
LOOK_ALIKES = "ig2"
LOOK_ALIKE_SIZES = (40, 100, 200)
TWO_SETS = ("tecom", "bccd")  # those with cells enough
TABLES = ("estimate", "promise", "look-alikes", "adjusted")
COLUMNS = (
    "| set | labels | right: mean (5 % of draws below; worst) | by the cells it is calibrated on | cells may be `ok` in"
    " | then `ok` | `ok` and wrong, of all: mean (worst) | at most 5 % of all, in |"
)
ADJUSTMENTS = {"as it is": (False, False), "`--scale`": (True, False), "`--scale --stain`": (True, True)}

Indices = npt.NDArray[np.intp]
MapDraws = Callable[[Callable[..., Any], range], list[Any]]


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
        may_pass: Whether the cells that it is calibrated on let cells be `ok`.
        estimate: Share of right ones among the cells that it is calibrated on.
    """

    right: float
    passing: float
    wrong: float
    may_pass: bool
    estimate: float

    @staticmethod
    def of(judged: Judged, may_pass: bool, calibrated_on: npt.NDArray[np.bool_]) -> "Drawn":
        """Figures of the other cells; `calibrated_on`: which of those that it is calibrated on are right."""
        passes = judged.passes & may_pass
        wrong = passes & ~judged.correct
        return Drawn(
            float(judged.correct.mean()),
            float(passes.mean()),
            float(wrong.mean()),
            may_pass,
            float(calibrated_on.mean()),
        )


def laboratory(
    name: str, data: Path, bundle: Bundle, cache: Path, scale: bool = False, stain: bool = False
) -> Laboratory:
    """Cells of a set, adjusted or not; what the bundle says of them is computed once, and then from the cache."""
    directory = data / name if name == LOOK_ALIKES else data / "foreign" / name
    cells, left_out = (labelled_cells(directory), 0) if name == LOOK_ALIKES else foreign_cells(name, directory)
    file = cache / f"{name}-{bundle.sha256[:8]}{'-scale' * scale}{'-stain' * stain}.pickle"
    if not file.exists():
        home = read_home_cells(bundle)
        if scale or stain:
            bundle = with_adjustment(bundle, directory, cells, home, scale, stain, lambda line: print(name, line))
        with Classifier(bundle, "openvino") as classifier:
            views = gather_views([directory / path for path in cells.paths], classifier, lambda done, count: None)
        cache.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(views))
    views = pickle.loads(file.read_bytes())
    return Laboratory(OwnCells(directory, cells, views), left_out)


def foreign_cells(name: str, directory: Path) -> tuple[LabelledCells, int]:
    """Cells of a set of splits/foreign.csv, of the classes that have enough of them; and how many are of others."""
    with (ROOT / "splits" / "foreign.csv").open(newline="", encoding="utf-8") as file:
        every = sorted(row["path"] for row in csv.DictReader(file) if row["set"] == name)
    counts = Counter(class_of(path) for path in every)
    classes = sorted(folder for folder, count in counts.items() if count >= FOLDS)
    paths = [path for path in every if class_of(path) in classes]
    labels = np.array([classes.index(class_of(path)) for path in paths])
    return LabelledCells(paths, labels, classes, None), len(every) - len(paths)


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
    return Drawn.of(judged, may_pass, adapted.judged.correct)


def promised(seed: int, cells: Laboratory, usual: Gaussians, home: HomeCells) -> Drawn:
    """Fit a head on one draw of labels, calibrate it on others as `cartcls calibrate` does, and test.

    `select` and `calibrate` are drawn with replacement from all cells that did not fit the head, and it is tested on
    all of these: a promise is about the cells that `calibrate` was drawn from. Without replacement, wrong cells that
    `calibrate` happens to lack would all be among those that are left to test.
    """
    labels, random = cells.own.cells.labels, np.random.default_rng(seed)
    chosen = draw(labels, HEAD, random)
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    parts = {"fit": rest[draw(labels[rest], FIT, random)]}
    parts |= {part: random.choice(rest, size) for part, size in DRAWN.items()}
    head = fit_own_head(cells.own, chosen, usual, home.of(cells.own.cells.classes))
    evidence = {part: cells.evidence(places, head) for part, places in parts.items()}
    found = measure(evidence, cell_classes(cells.own.cells.classes), MAX_ERROR)
    judged = judge(found.calibration, cells.evidence(rest, head), found.temperature)
    return Drawn.of(judged, found.promise.reached, found.calibrate.correct)


def right_by_head(seed: int, size: int, cells: Laboratory, usual: Gaussians, home: HomeCells) -> float:
    """Share of the other cells that a head is right of, with one draw of labels."""
    labels = cells.own.cells.labels
    chosen = draw(labels, size, np.random.default_rng(seed))
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    head = fit_own_head(cells.own, chosen, usual, home.of(cells.own.cells.classes))
    return float((cells.own.views.answers(head, rest)[0].argmax(1) == labels[rest]).mean())


def right_row(name: str, size: int, all_cells: Sequence[Laboratory], map_draws: MapDraws) -> str:
    """One line of a table of right ones, by how the cells are adjusted."""
    values = []
    for cells in all_cells:
        right = np.array(map_draws(partial(right_by_head, size=size, cells=cells), DRAWS))
        values.append(f"{right.mean():.1%} ({np.quantile(right, 0.05):.1%}; {right.min():.1%})")
    return f"| {name} | {size} | {' | '.join(values)} |"


def row(name: str, size: int, drawn: Sequence[Drawn]) -> str:
    """One line of the table."""
    right, wrong = np.array([one.right for one in drawn]), np.array([one.wrong for one in drawn])
    may = np.array([one.may_pass for one in drawn])
    values = [
        name,
        f"{size}",
        f"{right.mean():.1%} ({np.quantile(right, 0.05):.1%}; {right.min():.1%})",
        f"{np.mean([one.estimate for one in drawn]):.1%}",
        f"{may.sum()} of {len(may)} draws",
    ]
    if may.any():
        passing = np.array([one.passing for one in drawn])[may]
        values += [
            f"{passing.mean():.1%}",
            f"{wrong[may].mean():.2%} ({wrong[may].max():.2%})",
            f"{(wrong[may] <= MAX_ERROR).mean():.1%}",
        ]
    else:
        values += ["–", "–", "–"]
    return f"| {' | '.join(values)} |"


def table(name: str, data: Path, bundle: Bundle, cache: Path, map_draws: MapDraws) -> Iterator[str]:
    """Lines of one table, as Markdown."""
    find = partial(laboratory, data=data, bundle=bundle, cache=cache)
    if name in ("estimate", "promise"):
        yield COLUMNS
        yield "|---|---|---|---|---|---|---|---|"
        for set_name in FOREIGN if name == "estimate" else TWO_SETS:
            cells = find(set_name)
            for size in SIZES if name == "estimate" else (HEAD,):
                if len(cells.own.cells.labels) - size >= FEWEST_TO_TEST:
                    run = partial(tested, size=size) if name == "estimate" else promised
                    draws = DRAWS if name == "estimate" else PROMISE_DRAWS
                    yield row(set_name, size, map_draws(partial(run, cells=cells), draws))
        return
    ways = ADJUSTMENTS if name == "adjusted" else {"right": (False, False)}
    yield f"| set | labels | {' | '.join(ways)} |"
    yield f"|---|---|{'---|' * len(ways)}"
    for set_name in TWO_SETS if name == "adjusted" else (LOOK_ALIKES,):
        found = [find(set_name, scale=scale, stain=stain) for scale, stain in ways.values()]
        for size in SIZES if name == "adjusted" else LOOK_ALIKE_SIZES:
            yield right_row(set_name, size, found, map_draws)


def main(name: str, data: Path, cache: Path) -> None:
    """Draw, adapt, test, and print a table."""
    bundle = load_bundle()
    usual, home = check_reheadable(bundle, cache / "none"), read_home_cells(bundle)
    with ProcessPoolExecutor(initializer=threadpool_limits, initargs=(1,)) as pool:

        def map_draws(run: Callable[..., Any], draws: range) -> list[Any]:
            return list(pool.map(partial(run, usual=usual, home=home), draws, chunksize=10))

        for line in table(name, data, bundle, cache, map_draws):
            print(line, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    main(options.table, options.data, options.cache)
