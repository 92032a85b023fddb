"""Cross-validation of a training: a model for each fold, and then the final one on all cells."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from ..calibration.boxes import read_boxes
from ..calibration.cross_validation import (
    CROSS_VALIDATED,
    PREDICTIONS,
    CrossValidated,
    LabelledCells,
    cross_validated,
    folds,
    labelled_cells,
    predictions_csv,
)
from ..calibration.metrics import CONFUSION
from ..calibration.plots import draw_confusion
from ..calibration.reviewed import check_unbiased
from ..calibration.split import read_split
from ..runtime.errors import DataError
from ..runtime.files import replace_file, sweep, writing
from . import training
from .checkpoint import load_checkpoint, predict
from .images import load_images
from .loaders import CellData
from .progress import reading, say
from .start import check_start, read_start
from .training import LAST, TrainingSettings

FINAL, SETTINGS, LOGITS = "final", "settings.json", "logits.npy"
SMALL = (32, 32)  # pixels: only to see that every image can be read


def cross_validate(
    data_dir: Path, out: Path, settings: TrainingSettings, count: int, seeds: int, groups_file: Path | None = None
) -> CrossValidated:
    """Train a model for each seed and fold, predict the cells that it has not seen, and train one on all cells.

    No epoch is chosen: each model is the averaged weights of its last epoch. The same call goes on where it stopped.

    Args:
        data_dir: Folder with one folder per class.
        out: Folder for the figures, the runs of the folds, and the final model in `final/last.ckpt`.
        settings: How each is trained, except its seed.
        count: Number of folds.
        seeds: Number of seeds; each has its own folds.
        groups_file: CSV `path,group` (patient or slide); all images of a group are in one fold.

    Raises:
        DataError: The data or the boxes cannot be used, or `out` was started with other data or settings.
        KeyboardInterrupt: It was interrupted.
    """
    if settings.start:
        check_start(settings.start)
    check_unbiased(data_dir)
    cells = labelled_cells(data_dir, groups_file, say)
    if settings.boxes:
        read_boxes(settings.boxes, [*cells.paths, *cells.copy_of])
    divided = [folds(cells, count, seed) for seed in range(seeds)]
    with writing(out, DataError, "choose another --out"):
        open_folder(out, make_plan(data_dir, cells, settings, count) | {"seeds": seeds})
        fold_of = np.zeros((seeds, len(cells.paths)), int)
        probabilities = np.zeros((*fold_of.shape, len(cells.classes)))
        for seed, its_folds in enumerate(divided):
            for number, (_, test) in enumerate(its_folds):
                say(f"seed {seed + 1} of {seeds}, fold {number + 1} of {count}: {len(test)} cells are predicted")
                run = out / f"seed-{seed}-fold-{number + 1}"
                fold_of[seed, test] = number
                logits = fold_logits(data_dir, cells, test, run, replace(settings, seed=seed))
                probabilities[seed, test] = softmax(logits.astype(float), axis=1)
        figures = cross_validated(cells, probabilities, count)
        replace_file(out / PREDICTIONS, predictions_csv(cells, fold_of, probabilities))
        confusion = draw_confusion(figures.metrics.confusion, cells.classes, f"{figures.unit}, {seeds} seed(s)")
        replace_file(out / CONFUSION, confusion)
        replace_file(out / CROSS_VALIDATED, _encoded(figures))
        _final(data_dir, cells, out / FINAL, replace(settings, seed=0), figures)
    return figures


def make_plan(data_dir: Path, cells: LabelledCells, settings: TrainingSettings, count: int) -> dict[str, object]:
    """What a continued cross-validation must have in common with the interrupted one, as `open_folder` takes it."""
    images = load_images(data_dir, cells.paths, cells.classes, SMALL, reading("all", len(cells.paths), SMALL))
    groups = None if cells.groups is None else hashlib.sha256("\n".join(cells.groups).encode()).hexdigest()
    start = read_start(settings.start, settings.arch).origin if settings.start else None
    boxes = hashlib.sha256(settings.boxes.read_bytes()).hexdigest() if settings.boxes else None
    plan = {
        "arch": settings.arch,
        "stages": settings.stages,
        "batch_size": settings.batch_size,
        "start": start,
        "freeze": settings.freeze,
        "folds": count,
        "data_sha256": images.sha256,
        "groups_sha256": groups,
        "boxes_sha256": boxes,
    }
    return msgspec.json.decode(msgspec.json.encode(plan))


def open_folder(out: Path, plan: Mapping[str, object]) -> None:
    """Make the folder of a cross-validation, or make sure that it was started with the same plan.

    Raises:
        DataError: It was started with another, or contains something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    sweep(out)
    file = out / SETTINGS
    if file.exists():
        before = json.loads(file.read_bytes())
        if changed := [name for name, value in plan.items() if before.get(name) != value]:
            raise DataError(
                f"{out} was started with other settings or data ({', '.join(changed)}): give the same, or a new folder"
            )
    elif any(out.iterdir()):
        raise DataError(f"{out} is not empty, and no cross-validation: choose another --out")
    else:
        replace_file(file, _encoded(plan))


def fold_logits(
    data_dir: Path, cells: LabelledCells, test: npt.NDArray[np.intp], run: Path, settings: TrainingSettings
) -> npt.NDArray[np.float32]:
    """Logits of the test cells, in their order, by a model trained on the others; once they are in `run`, read there.

    Args:
        data_dir: Folder with one folder per class.
        cells: Its N cells.
        test: Indices of the T cells to predict.
        run: Run folder of the model; an interrupted training goes on.
        settings: How it is trained.

    Returns:
        Logits (T, K).
    """
    finished, tested = run / LOGITS, {cells.paths[index] for index in test}
    if not finished.exists():
        parts = {path: "report" if path in tested else "fit" for path in cells.paths}
        data = _data(data_dir, cells, parts, run, settings)
        images = data.images("report", settings.stages[-1].size)
        _train(data, run, settings, {"report": images.sha256})
        file = io.BytesIO()
        np.save(file, predict(load_checkpoint(run / LAST).model, images.images))
        replace_file(finished, file.getvalue())
    (run / LAST).unlink(missing_ok=True)  # it served the figures alone, and is large
    return np.load(finished)


def _final(
    data_dir: Path, cells: LabelledCells, run: Path, settings: TrainingSettings, figures: CrossValidated
) -> None:
    """Train on all cells; the figures beside the model are what `cartcls export` puts into the bundle."""
    if (run / CROSS_VALIDATED).exists():
        return
    say(f"the final model, on all {len(cells.paths)} cells")
    parts = dict.fromkeys(sorted([*cells.paths, *cells.copy_of]), "fit")  # a split names every file of the folder
    _train(_data(data_dir, cells, parts, run, settings), run, settings, {})
    replace_file(run / CROSS_VALIDATED, _encoded(figures))


def _data(
    data_dir: Path, cells: LabelledCells, parts: Mapping[str, str], run: Path, settings: TrainingSettings
) -> CellData:
    """The cells in their parts, with the split file in the run folder."""
    header, rows = ["path", "part"], [[path, part] for path, part in parts.items()]
    if cells.groups is not None:
        header.append("group")
        group_of = dict(zip(cells.paths, cells.groups, strict=True))
        rows = [[path, part, group_of[cells.copy_of.get(path, path)]] for path, part in rows]
    writer = csv.writer(file := io.StringIO(), lineterminator="\n")
    writer.writerows([header, *rows])
    run.mkdir(exist_ok=True)
    sweep(run)
    replace_file(run / "split.csv", file.getvalue().encode())
    split = read_split(run / "split.csv")
    return CellData(data_dir, split, settings.stages, settings.batch_size, settings.seed, settings.boxes)


def _train(data: CellData, run: Path, settings: TrainingSettings, others: Mapping[str, str]) -> None:
    training.train(data, run / "split.csv", run, settings, others, resume=(run / LAST).exists())


def _encoded(record: CrossValidated | Mapping[str, object] | Sequence[object]) -> bytes:
    return (json.dumps(msgspec.to_builtins(record), indent=2) + "\n").encode()
