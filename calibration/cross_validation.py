"""Stratified cross-validation of labelled cells: the folds, and the figures of out-of-fold predictions."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from ..runtime.bundle.bundle import CROSS_VALIDATION
from ..runtime.bundle.manifest import ClassMetrics, Metrics
from ..runtime.errors import DataError
from ..runtime.statistics import wilson_interval
from .copies import first_of_each
from .groups import join_groups, read_groups
from .metrics import classification_metrics
from .split import class_of, list_images

CROSS_VALIDATED, PREDICTIONS = "cross-validated.json", "predictions.csv"  # files of a cross-validation
BY_IMAGE, BY_GROUP = f"{CROSS_VALIDATION}, by image", f"{CROSS_VALIDATION}, by group"

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class LabelledCells:
    """The cells of a data folder, each once.

    Attributes:
        paths: Images relative to the folder, `/`-separated, sorted, (N,).
        labels: Class indices, (N,).
        classes: Names of the K classes, sorted.
        groups: Patient or slide of each, (N,); None where they are not known.
        copy_of: By path of an image that was left out, the path with the same bytes.
    """

    paths: list[str]
    labels: npt.NDArray[np.int64]
    classes: list[str]
    groups: list[str] | None
    copy_of: dict[str, str] = field(default_factory=dict)

    def of(self, chosen: Indices) -> "LabelledCells":
        """Some of the cells; the classes stay, also those of which there is none."""
        groups = None if self.groups is None else [self.groups[place] for place in chosen]
        return LabelledCells([self.paths[place] for place in chosen], self.labels[chosen], self.classes, groups)


class SeedFigures(msgspec.Struct, frozen=True):
    """Figures of the predictions of one seed.

    Attributes:
        top1: Share of right answers.
        weighted_f1: Mean F1 of the classes, weighted by number of cells.
        auc: Area under the ROC curve; None unless there are two classes.
    """

    top1: float
    weighted_f1: float
    auc: float | None


class CrossValidated(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of cells that were each predicted by a model that had not seen them.

    Attributes:
        unit: How every figure of it is marked: `BY_IMAGE` or `BY_GROUP`.
        folds: Number of folds.
        groups: Number of patients or slides; None where they are not known.
        metrics: Means over the seeds. A cell counts once in `count`, `correct`, `per_class` and the interval, and once
            per seed in `confusion`.
        auc: Mean over the seeds; None unless there are two classes.
        spread: Standard deviation of top-1 over the seeds; None of one seed.
        seeds: Figures of each seed.
    """

    unit: str
    folds: int
    groups: int | None
    metrics: Metrics
    auc: float | None
    spread: float | None
    seeds: tuple[SeedFigures, ...]


def labelled_cells(
    data_dir: Path, groups_file: Path | None = None, notify: Callable[[str], None] = lambda line: None
) -> LabelledCells:
    """List the cells of a data folder, without copies, which would be in two folds.

    Args:
        data_dir: Folder with one folder per class.
        groups_file: CSV with the columns `path` and `group`, `patient` or `slide`. Groups that have an image in common
            become one.
        notify: Called with messages for the user.

    Raises:
        DataError: The folder or the groups cannot be used, or two classes have the same image.
    """
    found = list_images(data_dir, notify=notify)
    groups = read_groups(groups_file, found) if groups_file else None
    first_of = first_of_each(data_dir, found)
    joined = join_groups({path: groups[path] for path in found}, first_of) if groups else None
    paths = [path for path in found if first_of[path] == path]
    copy_of = {path: first for path, first in first_of.items() if first != path}
    if copies := len(copy_of):
        notify(f"left out: {copies} {'copy' if copies == 1 else 'copies'} of other images, byte for byte")
    classes = sorted({class_of(path) for path in paths})
    labels = np.array([classes.index(class_of(path)) for path in paths], np.int64)
    return LabelledCells(paths, labels, classes, [joined[path] for path in paths] if joined else None, copy_of)


def folds(cells: LabelledCells, count: int, seed: int) -> list[tuple[Indices, Indices]]:
    """Divide cells into folds, stratified by class; all cells of a group are in one.

    Args:
        cells: The N cells.
        count: Number of folds.
        seed: Another seed gives other folds.

    Returns:
        For each fold the indices of the cells to train on, and of those to test on.

    Raises:
        DataError: A class has too few cells or groups, so that a model would be tested that was never shown it.
    """
    sizes = np.bincount(cells.labels, minlength=len(cells.classes))
    if small := [f"{name} ({size})" for name, size in zip(cells.classes, sizes, strict=True) if size < count]:
        raise DataError(
            f"{count} folds need at least {count} different images of each class, and there are fewer of"
            f" {', '.join(small)}: add images, or move the folder elsewhere"
        )
    if cells.groups is None:
        return list(StratifiedKFold(count, shuffle=True, random_state=seed).split(cells.paths, cells.labels))
    if (found := len(set(cells.groups))) < count:
        raise DataError(f"{count} folds need at least {count} groups, and there are {found}: add images of others")
    _check_groups(cells, cells.groups)
    divided = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    made = list(divided.split(cells.paths, cells.labels, cells.groups))
    for train, test in made:
        missing = np.setdiff1d(cells.labels, cells.labels[train])
        if not len(test) or len(missing):
            lacks = f"all groups of {cells.classes[missing[0]]} are in one fold" if len(missing) else "a fold is empty"
            raise DataError(f"the groups do not go into {count} folds: {lacks}: add images of other groups")
    return made


def cross_validated(cells: LabelledCells, probabilities: Floats, count: int) -> CrossValidated:
    """Figures of out-of-fold predictions.

    Args:
        cells: The N cells.
        probabilities: Of each seed's models for the cells that they were not trained on, (S, N, K).
        count: Number of folds.
    """
    of_seeds = [classification_metrics(cells.labels, values, cells.classes) for values in probabilities]
    aucs = [float(roc_auc_score(cells.labels, values[:, 1])) for values in probabilities if values.shape[1] == 2]
    top1 = [metrics.top1 for metrics in of_seeds]
    return CrossValidated(
        unit=BY_IMAGE if cells.groups is None else BY_GROUP,
        folds=count,
        groups=None if cells.groups is None else len(set(cells.groups)),
        metrics=_mean(of_seeds),
        auc=float(np.mean(aucs)) if aucs else None,
        spread=float(np.std(top1, ddof=1)) if len(top1) > 1 else None,
        seeds=tuple(
            SeedFigures(metrics.top1, metrics.weighted_f1 or 0.0, aucs[seed] if aucs else None)
            for seed, metrics in enumerate(of_seeds)
        ),
    )


def predictions_csv(cells: LabelledCells, fold_of: npt.NDArray[np.integer], probabilities: Floats) -> bytes:
    """Out-of-fold predictions as a CSV file: a row for each seed and cell.

    Args:
        cells: The N cells.
        fold_of: Number of the fold that each was tested in, counted from 0, (S, N).
        probabilities: As `cross_validated` takes them.
    """
    writer = csv.writer(file := io.StringIO(), lineterminator="\n")
    group = [] if cells.groups is None else ["group"]
    writer.writerow(["seed", "fold", "path", *group, "class", "predicted", *(f"p_{name}" for name in cells.classes)])
    for seed, (numbers, values) in enumerate(zip(fold_of, probabilities, strict=True)):
        for index, path in enumerate(cells.paths):
            group = [] if cells.groups is None else [cells.groups[index]]
            names = cells.classes[cells.labels[index]], cells.classes[values[index].argmax()]
            shown = [f"{value:.6f}" for value in values[index]]
            writer.writerow([seed, numbers[index] + 1, path, *group, *names, *shown])
    return file.getvalue().encode(errors="surrogateescape")


def _check_groups(cells: LabelledCells, groups: Sequence[str]) -> None:
    """Make sure that no class is of one group alone, without which a model would have none of it."""
    for label, name in enumerate(cells.classes):
        of_class = {group for group, its_label in zip(groups, cells.labels, strict=True) if its_label == label}
        if len(of_class) < 2:
            raise DataError(
                f"all images of {name} are of the group {of_class.pop()!r}, so that no fold can test what was learned"
                " of it elsewhere: add images of it from another group, or move its folder elsewhere"
            )


def _mean(of_seeds: Sequence[Metrics]) -> Metrics:
    """Means over the seeds, where a cell counts once."""
    first = of_seeds[0]
    correct = round(float(np.mean([metrics.correct for metrics in of_seeds])))
    return replace(
        first,
        correct=correct,
        top1=float(np.mean([metrics.top1 for metrics in of_seeds])),
        top1_interval=wilson_interval(correct, first.count),
        top5=float(np.mean([metrics.top5 for metrics in of_seeds])),
        macro_f1=_mean_of([metrics.macro_f1 for metrics in of_seeds]),
        weighted_f1=_mean_of([metrics.weighted_f1 for metrics in of_seeds]),
        per_class={
            name: ClassMetrics(
                row.count,
                _mean_of([metrics.per_class[name].sensitivity for metrics in of_seeds]),
                _mean_of([metrics.per_class[name].precision for metrics in of_seeds]),
                _mean_of([metrics.per_class[name].f1 for metrics in of_seeds]),
            )
            for name, row in first.per_class.items()
        },
        confusion=np.sum([metrics.confusion for metrics in of_seeds], 0).tolist(),
    )


def _mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of what was measured; a class that no cell was called has no precision."""
    measured = [value for value in values if value is not None]
    return float(np.mean(measured)) if measured else None
