"""How often a bundle is right on labelled cells, as the edge runs it."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.bundle.bundle import Bundle
from ..runtime.errors import DataError, OutputError
from ..runtime.files import whole_folder, writing
from ..runtime.inference.classifier import Classifier
from ..runtime.ledger.records import Cell, Run
from ..runtime.reports.page import render
from ..runtime.reports.table import CSV, write_csv
from ..runtime.slides.batch import classify_images, describe_run
from .metrics import classification_metrics
from .pictures import draw_confusion

METRICS, CONFUSION, MISTAKES = "metrics.json", "confusion.png", "mistakes.html"


def evaluate(
    data_dir: Path,
    paths: Sequence[str],
    part: str,
    out: Path,
    classifier: Classifier,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Classify labelled images and compare; write metrics, confusion matrix, table and a page of the mistakes.

    Args:
        data_dir: Folder with one folder per class.
        paths: Images, relative to it, `/`-separated; the first folder is the true class.
        part: Which images these are, as every figure is marked.
        out: Folder to write; one of an earlier evaluation is replaced.
        classifier: The model, loaded.
        progress: Called with the number of images done and of all images.

    Returns:
        The metrics, as written to `metrics.json`.

    Raises:
        DataError: A class folder is no class of the bundle, or no image could be read.
        OutputError: The folder cannot be written.
        BackendError: The backend failed.
    """
    bundle = classifier.bundle
    names = [entry.name for entry in bundle.classes]
    if unknown := sorted({path.split("/")[0] for path in paths} - set(names)):
        raise DataError(f"{bundle.name} has no class {', '.join(unknown)}: its classes are {', '.join(names)}")
    if out.exists() and not (out / METRICS).is_file():
        raise OutputError(f"{out} exists and is no evaluation: move it away, or choose another --out")
    run = describe_run(data_dir, classifier.backend)
    with writing(out), whole_folder(out) as folder:
        cells = classify_images(data_dir, [os.fsencode(path) for path in paths], folder, classifier, progress)
        truth = {cell.seq: path.split("/")[0] for cell, path in zip(cells, paths, strict=True)}
        metrics = _metrics(bundle, run, cells, truth, part)
        write_csv(folder / CSV, bundle, run, cells)
        (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        draw_confusion(metrics["confusion"], names, part, folder / CONFUSION)
        mistakes = [(cell, truth[cell.seq]) for cell in cells if cell.label and cell.label != truth[cell.seq]]
        mistakes.sort(key=lambda mistake: -(mistake[0].confidence or 0))
        page = render(MISTAKES, bundle.classes, metrics=metrics, mistakes=mistakes, confusion=CONFUSION, bundle=bundle)
        (folder / MISTAKES).write_text(page, encoding="utf-8")
    return metrics


def _metrics(bundle: Bundle, run: Run, cells: Sequence[Cell], truth: dict[int, str], part: str) -> dict[str, Any]:
    labelled = [cell for cell in cells if cell.label]
    if not labelled:
        raise DataError(f"{run.source}: no image could be read")
    names = [entry.name for entry in bundle.classes]
    labels = [names.index(truth[cell.seq]) for cell in labelled]
    return {
        "part": part,
        "unreadable": {cell.path: cell.reason for cell in cells if not cell.label},
        **classification_metrics(labels, np.array([cell.probabilities for cell in labelled]), names),
        "bundle": bundle.name,
        "bundle_sha256": bundle.sha256,
        "backend": run.backend,
        "precision": run.precision,
        "device": run.device,
        "version": run.version,
        "started_at": run.started_at,
    }
