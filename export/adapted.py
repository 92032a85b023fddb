"""The bundle of a laboratory's own cells: another head, and the calibration that its cross-validation gives."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from msgspec import structs

from ..calibration.adapt import Adapted
from ..calibration.adapted_head import kept_cells
from ..calibration.adapted_record import adapted_calibration
from ..calibration.cross_validation import cross_validated, predictions_csv
from ..calibration.own_cells import FOLDS, OwnCells
from ..calibration.picture_measures import measure_pictures
from ..runtime.bundle.bundle import Bundle
from ..runtime.bundle.manifest import CellClass
from ..runtime.errors import DataError
from ..runtime.images.decode import read_image
from ..runtime.inference.backend import Backend
from .classes import cell_classes
from .recalibrated import write_calibrated
from .reheaded import ParityCells, write_reheaded

OUT_OF_FOLD, LEARNING_CURVE = "cross-validation.csv", "learning-curve.png"
PARITY_PER_CLASS = 8


def write_adapted(
    bundle: Bundle,
    adapted: Adapted,
    own: OwnCells,
    curve: bytes,
    backend: Backend,
    out: Path,
) -> Bundle:
    """Write a bundle with an adapted head, after a parity check of its graphs.

    Args:
        bundle: What it is made from, with the adjustment of the pictures.
        adapted: Its head, and what is known of it.
        own: The labelled cells.
        curve: The learning curve, PNG.
        backend: What ran the cells.
        out: Folder to make.

    Returns:
        The bundle, as it was read back.

    Raises:
        DataError: `out` exists or cannot be written.
        ParityError: The half-precision graph gives other answers than the one in float32; nothing is written.
    """
    classes = adapted_classes(own.cells.classes, bundle)
    how = f"cartcls adapt: {len(own.cells.labels)} labelled cells of {len(classes)} classes ({own.in_words})"
    if bundle.adjustment:
        how += f"; {bundle.adjustment.sentence}"
    source = structs.replace(bundle.manifest.source, head=how)
    with tempfile.TemporaryDirectory() as folder:
        made = write_reheaded(bundle, adapted.head, classes, source, _parity_cells(bundle, own), Path(folder, out.name))
        figures = cross_validated(own.tested, adapted.out_of_fold.probabilities(adapted.temperature), FOLDS)
        made = replace(made, manifest=structs.replace(made.manifest, metrics={figures.unit: figures.metrics}))
        kept = (own.directory / own.cells.paths[place] for place in kept_cells(own.cells.labels))
        measures = measure_pictures(made.graph_input(read_image(file)[0]) for file in kept)
        calibrated = adapted_calibration(adapted, own, classes, made, backend, measures)
        further = {OUT_OF_FOLD: _predictions(adapted, own), LEARNING_CURVE: curve}
        return write_calibrated(made, replace(calibrated, files=calibrated.files | further), out)


def check_outside(out: Path, labelled_dir: Path) -> None:
    """Make sure that a bundle is not written among labelled cells.

    Raises:
        DataError: It would be.
    """
    if out.resolve().is_relative_to(labelled_dir.resolve()):
        raise DataError(f"{out} is in {labelled_dir}, among the labelled cells: choose another --out")


def adapted_classes(names: Sequence[str], bundle: Bundle) -> list[CellClass]:
    """Classes by name: the bundle's own as they are there, others as `cell_classes` knows them."""
    own = {entry.name: entry for entry in bundle.classes}
    return [own.get(entry.name, entry) for entry in cell_classes(names)]


def _parity_cells(bundle: Bundle, own: OwnCells) -> ParityCells:
    """The first cells of each class, without their labels: that a head is right on its own cells means nothing."""
    labels = own.cells.labels
    chosen = np.concatenate([np.flatnonzero(labels == label)[:PARITY_PER_CLASS] for label in np.unique(labels)])
    paths = [own.cells.paths[place] for place in chosen]
    images = np.stack([bundle.graph_input(read_image(own.directory / path)[0]) for path in paths])
    return ParityCells("cells that trained the head", images, paths)


def _predictions(adapted: Adapted, own: OwnCells) -> bytes:
    found = adapted.out_of_fold
    return predictions_csv(own.tested, found.fold_of, found.probabilities(adapted.temperature))
