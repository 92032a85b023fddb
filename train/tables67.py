"""The paper's Tables 6 and 7 on your own cells: six models from scratch and after transfer."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..calibration.cross_validation import BY_IMAGE, Indices, LabelledCells, folds, labelled_cells
from ..calibration.metrics import METRICS
from ..calibration.reviewed import check_unbiased
from ..runtime.bundle.provenance import epochs_of
from ..runtime.errors import DataError
from ..runtime.files import replace_file, writing
from . import cross_validate
from .claims import PAPER, SCRATCH, TRANSFER, Key, Row, claim_lines
from .freeze import ALL, NONE
from .progress import say
from .table5 import ARCHS
from .training import TrainingSettings, read_run

TABLES = "tables67.md"
ADAPTED = "cross-validation.csv"  # of a bundle that `cartcls adapt` wrote


@dataclass(frozen=True)
class Extent:
    """How much is trained.

    Attributes:
        folds: Number of folds, the same for all models and seeds.
        vgg19_folds: How many of them VGG19, which takes longest, is tested on.
        seeds: Number of trainings of each model and fold.
    """

    folds: int = 5
    vgg19_folds: int = 1
    seeds: int = 1

    def of(self, arch: str) -> int:
        """Number of folds that a model is tested on."""
        return min(self.vgg19_folds, self.folds) if arch == "vgg19" else self.folds


def write_tables(
    data_dir: Path,
    out: Path,
    settings: TrainingSettings,
    extent: Extent,
    pretrained: Path | None = None,
    adapted: Path | None = None,
) -> str:
    """Train what is missing, and write `tables67.md` after each model. The same call goes on where it stopped.

    Args:
        data_dir: Folder with one folder per class.
        out: Folder for the runs and the tables. More seeds or folds of VGG19 may be added later.
        settings: How each is trained, except architecture, seed and start; `freeze` is for Table 7.
        extent: How much is trained.
        pretrained: Folder of `cartcls train table5` on public cells, for Table 7; None for Table 6 alone.
        adapted: Bundle that `cartcls adapt` made of the same cells, for its row.

    Returns:
        The tables, as Markdown.

    Raises:
        DataError: The data cannot be used, weights to start from are missing, or `out` was started with other settings.
        KeyboardInterrupt: It was interrupted.
    """
    starts = dict[Key, Path | None](dict.fromkeys([(SCRATCH, arch) for arch in ARCHS]))
    if pretrained:
        starts |= {(TRANSFER, arch): _checkpoint(pretrained, arch) for arch in ARCHS}
    check_unbiased(data_dir)
    cells = labelled_cells(data_dir, notify=say)
    divided = folds(cells, extent.folds, 0)
    last = [_adapted_row(adapted, cells, divided)] if adapted else []
    rows: dict[Key, Row] = {}
    text = ""
    with writing(out, DataError, "choose another --out"):
        for (kind, arch), start in starts.items():
            freeze = settings.freeze if start else NONE
            its_settings = replace(settings, arch=arch, start=start, freeze=freeze)
            tests = [test for _, test in divided[: extent.of(arch)]]
            right = _right(data_dir, cells, tests, out / f"{kind}-{arch}", its_settings, extent)
            rows[kind, arch] = Row(arch, PAPER.get((kind, arch), "–"), right, len(tests), extent.seeds)
            text = "\n".join(_lines(rows, last, cells, settings, extent, pretrained)) + "\n"
            replace_file(out / TABLES, text.encode())
    return text


def _checkpoint(pretrained: Path, arch: str) -> Path:
    run = pretrained / f"{arch}-0"
    if not (run / METRICS).exists():
        raise DataError(
            f"{run} has no finished training: train all models with `cartcls train table5 PUBLIC_DIR --split FILE"
            f" --out {pretrained}`"
        )
    return run / "best.ckpt"


def _right(
    data_dir: Path,
    cells: LabelledCells,
    tests: Sequence[Indices],
    out: Path,
    settings: TrainingSettings,
    extent: Extent,
) -> npt.NDArray[np.float64]:
    """`Row.right` of one model, which is trained where that is not done."""
    cross_validate.open_folder(out, cross_validate.make_plan(data_dir, cells, settings, extent.folds))
    right = np.full((extent.seeds, len(cells.paths)), np.nan)
    for seed in range(extent.seeds):
        for number, test in enumerate(tests, 1):
            say(f"{out.name}: seed {seed + 1} of {extent.seeds}, fold {number} of {len(tests)}")
            run = out / f"seed-{seed}-fold-{number}"
            logits = cross_validate.fold_logits(data_dir, cells, test, run, replace(settings, seed=seed))
            right[seed, test] = logits.argmax(1) == cells.labels[test]
    return right.mean(0)


def _adapted_row(bundle: Path, cells: LabelledCells, divided: Sequence[tuple[Indices, Indices]]) -> Row:
    """The row of `cartcls adapt`: its answers of seed 0, whose folds are the same."""
    file = bundle / ADAPTED
    try:
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
            found = {row["path"]: row for row in csv.DictReader(lines) if row["seed"] == "0"}
        same = found.keys() == set(cells.paths) and all(
            found[cells.paths[index]]["fold"] == str(number)
            for number, (_, test) in enumerate(divided, 1)
            for index in test
        )
    except (OSError, KeyError) as error:
        raise DataError(f"{file} cannot be read ({error}): name a bundle that `cartcls adapt` wrote") from None
    if not same:
        raise DataError(f"{file} is of other cells or folds: adapt the same folder, and give --folds 5")
    right = np.array([found[path]["class"] == found[path]["predicted"] for path in cells.paths], float)
    return Row("`cartcls adapt`", "–", right, len(divided), 1)


def _lines(
    rows: Mapping[Key, Row],
    last: Sequence[Row],
    cells: LabelledCells,
    settings: TrainingSettings,
    extent: Extent,
    pretrained: Path | None,
) -> Iterator[str]:
    yield (
        f"{len(cells.paths)} cells of {', '.join(cells.classes)}, each answered by a model that has not seen it"
        f" ({BY_IMAGE}; {extent.folds} folds). Epochs: {epochs_of(settings.stages)}; batches of {settings.batch_size}."
        " The paper's: on its own CAR-T cells, which are not public; – where its figure was not found."
    )
    yield from ("", "Table 6, from scratch:", "", *_table([row for (kind, _), row in rows.items() if kind == SCRATCH]))
    if pretrained and (found := [row for (kind, _), row in rows.items() if kind == TRANSFER]):
        before = epochs_of(read_run(pretrained / f"{ARCHS[0]}-0").stages)
        trained = "the head alone is trained" if settings.freeze == ALL else "all weights are trained"
        yield from ("", f"Table 7, after transfer (trained before: {before}; {trained}):", "", *_table([*found, *last]))
    if claims := list(claim_lines(rows)):
        yield from ("", "The paper's claims on these cells:", "", *claims)
        yield from ("", "Intervals are over cells. They do not show by how much another training would differ.")


def _table(rows: Sequence[Row]) -> Iterator[str]:
    yield "| model | paper | ours | 95 % interval | right | folds | seeds |"
    yield "|---|---|---|---|---|---|---|"
    yield from map(_row_line, rows)


def _row_line(row: Row) -> str:
    low, high = row.interval
    return (
        f"| {row.name} | {row.paper} | {row.top1:.2%} | {low:.2%} to {high:.2%}"
        f" | {row.top1 * row.count:.0f} of {row.count} | {row.folds} | {row.seeds} |"
    )
