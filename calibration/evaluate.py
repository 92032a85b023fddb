"""How often a bundle is right on labelled cells, as the edge runs it."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ..runtime.bundle.bundle import Bundle
from ..runtime.bundle.manifest import Metrics
from ..runtime.errors import DataError, OutputError
from ..runtime.files import whole_folder, writing
from ..runtime.inference.classifier import Classifier
from ..runtime.ledger.records import Cell, Run
from ..runtime.reports.page import panels_of, render
from ..runtime.reports.table import CSV, write_csv
from ..runtime.slides.batch import classify_images, describe_run
from .classes import classes_of_folders
from .metrics import CONFUSION, METRICS, classification_metrics
from .plots import draw_confusion
from .split import class_of

MISTAKES = "mistakes.html"


@dataclass(frozen=True)
class Evaluation:
    """Metrics of labelled cells, and what they were made with.

    Attributes:
        part: Which cells these are, as every figure is marked.
        unreadable: Why a cell is not in the figures, by its path.
        metrics: Of the others.
        bundle: What classified them.
        run: What was the same for all cells.
    """

    part: str
    unreadable: dict[str, str]
    metrics: Metrics
    bundle: Bundle
    run: Run

    def as_json(self) -> dict[str, object]:
        """As `metrics.json` has it."""
        return {
            "part": self.part,
            "unreadable": self.unreadable,
            **msgspec.to_builtins(self.metrics),
            "bundle": self.bundle.name,
            "bundle_sha256": self.bundle.sha256,
            "calibrated": self.bundle.calibrated,
            "backend": self.run.backend,
            "precision": self.run.precision,
            "device": self.run.device,
            "version": self.run.version,
            "started_at": self.run.started_at,
        }


def evaluate(
    data_dir: Path,
    paths: Sequence[str],
    part: str,
    out: Path,
    classifier: Classifier,
    progress: Callable[[int, int], None],
) -> Evaluation:
    """Classify labelled images and compare; write metrics, confusion matrix, table and a page of the mistakes.

    Args:
        data_dir: Folder with one folder per class.
        paths: Images, relative to it, `/`-separated; the first folder is the true class, by its name or title.
        part: Which images these are, as every figure is marked.
        out: Folder to write; one of an earlier evaluation is replaced.
        classifier: The model, loaded.
        progress: Called with the number of images done and of all images.

    Raises:
        DataError: A class folder is no class of the bundle, or no image could be read.
        OutputError: The folder cannot be written.
        BackendError: The backend failed.
    """
    bundle = classifier.bundle
    names = [entry.name for entry in bundle.classes]
    name_of = classes_of_folders(map(class_of, paths), bundle)
    if out.exists() and not (out / METRICS).is_file():
        raise OutputError(f"{out} exists and is no evaluation: move it away, or choose another --out")
    run = describe_run(data_dir, classifier.backend)
    with writing(out), whole_folder(out) as folder:
        cells = classify_images(data_dir, [os.fsencode(path) for path in paths], folder, classifier, progress)
        truth = {cell.seq: name_of[class_of(path)] for cell, path in zip(cells, paths, strict=True)}
        evaluation = _evaluation(bundle, run, cells, truth, part)
        write_csv(folder / CSV, bundle, run, cells)
        (folder / METRICS).write_text(json.dumps(evaluation.as_json(), indent=2) + "\n", encoding="utf-8")
        titles = {entry.name: entry.title for entry in bundle.classes}
        (folder / CONFUSION).write_bytes(draw_confusion(evaluation.metrics.confusion, list(titles.values()), part))
        mistakes = [(cell, truth[cell.seq]) for cell in cells if cell.label and cell.label != truth[cell.seq]]
        mistakes.sort(key=lambda mistake: -(mistake[0].confidence or 0))
        classes = [(names.index(entry.name), entry) for entry in bundle.manifest.classes_as_read]
        values = {"evaluation": evaluation, "mistakes": mistakes, "by_class": classes, "titles": titles}
        panels = panels_of(bundle, has_maps=any(cell.maps for cell in cells))
        (folder / MISTAKES).write_text(render(MISTAKES, bundle.classes, panels, **values), encoding="utf-8")
    return evaluation


def _evaluation(bundle: Bundle, run: Run, cells: Sequence[Cell], truth: dict[int, str], part: str) -> Evaluation:
    labelled = [cell for cell in cells if cell.label]
    if not labelled:
        raise DataError(f"{run.source}: no image could be read")
    names = [entry.name for entry in bundle.classes]
    labels = [names.index(truth[cell.seq]) for cell in labelled]
    metrics = classification_metrics(labels, np.array([cell.probabilities for cell in labelled]), names)
    return Evaluation(part, {cell.path: cell.reason for cell in cells if not cell.label}, metrics, bundle, run)
