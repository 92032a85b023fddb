"""Calibration of a bundle: temperature, limits, review threshold, and the proof of what they are worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from io import BytesIO

import numpy as np
import numpy.typing as npt
from msgspec.structs import asdict
from sklearn.metrics import confusion_matrix

from ..runtime.bundle.bundle import MODEL, Bundle
from ..runtime.bundle.calibration import (
    DISTANCE,
    STAIN,
    CalibrateFigures,
    CalibrationRecord,
    Limits,
    Typical,
)
from ..runtime.bundle.manifest import CellClass
from ..runtime.bundle.review import CALIBRATION, Calibration, Gaussians
from ..runtime.errors import DataError
from ..runtime.images.quality import FLAWS
from ..runtime.inference.backend import Backend
from ..runtime.inference.predictions import softmax
from ..runtime.ledger.records import now
from .adapted_head import HOME_CELLS, home_cells_file
from .evidence import Evidence
from .guarantee import promise_record
from .judged import Judged, always_reviewed, judge, per_class, rare_sentence, reasons
from .limits import gaussians, limits, stain_gaussians, typical
from .picture_measures import PictureMeasures
from .plots import draw_reliability, draw_risk_coverage
from .reliability import reliability
from .risk import Promise, cells_to_stand, promise, threshold_sequence
from .split import FEWEST, Split
from .temperature import fit_temperature

Floats = npt.NDArray[np.float64]
PARTS = tuple(FEWEST)
RELIABILITY, RISK_COVERAGE = "reliability.png", "risk-coverage.png"


@dataclass(frozen=True)
class Calibrated:
    """A calibration, ready to be written: `record` into `bundle.json`, `files` beside it."""

    record: CalibrationRecord
    files: dict[str, bytes]


def check_parts(labels: Mapping[str, Sequence[str]], bundle: Bundle, max_error: float) -> None:
    """Make sure, before anything is computed, that a calibration can be made of these cells.

    Args:
        labels: True classes of the cells, of those of the bundle, by part.
        bundle: What is to be calibrated.
        max_error: Share of wrong cells that is asked for.

    Raises:
        DataError: Naming the part that has too few cells, or the classes that are missing.
    """
    names = [entry.name for entry in bundle.classes]
    for part in PARTS:
        if missing := [name for name in names if name not in labels[part]]:
            raise DataError(
                f"the part `{part}` has no cell of {', '.join(missing)}: add images of new slides to that part"
            )
        if len(labels[part]) < FEWEST[part]:
            raise DataError(
                f"the part `{part}` has {len(labels[part])} cells: at least {FEWEST[part]} are needed, and"
                f" {cells_to_stand(0, max_error)} in `calibrate` to guarantee an error of at most {max_error:.2%}"
            )


def calibrate(
    bundle: Bundle,
    backend: Backend,
    evidence: Mapping[str, Evidence],
    split: Split,
    max_error: float,
    measures: PictureMeasures | None = None,
) -> Calibrated:
    """Calibrate a bundle. Each step sees one part alone, and what was made of an earlier one is not changed again.

    Only the typical distances, which mark no cell as `ok`, are from two parts.

    Where the error that is asked for cannot be guaranteed, the record says so, and no cell is `ok` by it.

    Args:
        bundle: What is to be calibrated.
        backend: What ran it.
        evidence: Of the parts `fit`, `select` and `calibrate`.
        split: Where the cells are from; another one than the training's is noted.
        max_error: Share that is asked for: of all cells wrong and `ok` ones, and of those that pass all checks wrong
            ones.
        measures: Of the pictures of the cells of `fit` that `home.npz` keeps.

    Raises:
        DataError: The cells do not allow it.
    """
    measured = measure(evidence, bundle.classes, max_error)
    record = _record(measured, bundle, backend, split, {part: len(evidence[part].labels) for part in PARTS})
    fit = evidence["fit"]
    files = {
        CALIBRATION: calibration_file(measured.calibration, bundle.manifest.files[MODEL]),
        HOME_CELLS: home_cells_file(fit.features, fit.labels, measures),
    }
    return Calibrated(record, files | pictures(measured.before, measured.promise, record.calibrate, "calibrate"))


def is_split_of_training(bundle: Bundle, split_sha256: str) -> bool:
    """Whether a split is the one by which the bundle's weights saw no cell of `select` and `calibrate`."""
    return bundle.manifest.source.split_sha256 == split_sha256


@dataclass(frozen=True)
class Measured:
    """What was found, and what it says of the cells.

    Attributes:
        select: Judged by all checks but the confidence.
        before: `calibrate`, judged in the same way.
        calibrate: The same cells, judged by all checks and by their labels, as a user sees them.
    """

    temperature: float
    calibration: Calibration
    promise: Promise
    select: Judged
    before: Judged
    calibrate: Judged


def measure(evidence: Mapping[str, Evidence], classes: Sequence[CellClass], max_error: float) -> Measured:
    """Find temperature, limits and threshold; see `calibrate`."""
    fit, select, calibrate = (evidence[part] for part in PARTS)
    temperature = fit_temperature(select.logits, select.labels)
    usual = _usual(fit, select)
    judged, before = judge(usual, select, temperature), judge(usual, calibrate, temperature)
    found = _promise(judged, before, max_error)
    calibration = replace(usual, threshold=found.chosen.threshold, reached=found.reached)
    seen = always_reviewed(judge(calibration, calibrate, temperature), classes)
    return Measured(temperature, calibration, found, judged, before, seen)


def _usual(fit: Evidence, select: Evidence) -> Calibration:
    features = gaussians(fit.features.astype(np.float64), fit.labels)
    return usual_calibration(features, features.distances(select.features), stain_gaussians(fit.stains), select)


def usual_calibration(features: Gaussians, distances: Floats, stains: Gaussians, cells: Evidence) -> Calibration:
    """All but the threshold: what is usual.

    Args:
        features: The classes in feature space.
        distances: Of cells whose features were not used for it, (N,).
        stains: Kinds of stain.
        cells: Cells that the limits come from.
    """
    measured: Limits = {
        DISTANCE: (None, limits(DISTANCE, distances)[1]),
        STAIN: (None, limits(STAIN, stains.distances(cells.stains))[1]),
    }
    for name, (below, above) in FLAWS.items():
        low, high = limits(name, cells.measure(name))
        measured[name] = (low if below else None, high if above else None)
    return Calibration(0.0, measured, features, stains)


def _promise(select: Judged, calibrate: Judged, max_error: float) -> Promise:
    """Find the threshold, for cells that no other check flags.

    Cells of all classes count, also of those that a person always sees: with these taken for safe, a threshold could
    be so loose that it protects no other class.
    """
    kept, others = select.confidences[select.passes], calibrate.passes
    if not others.any() or not len(kept):
        raise DataError("quality and distance flag every cell: are `select` and `calibrate` from the same microscope?")
    thresholds = threshold_sequence(kept, int(others.sum()), max_error)
    return promise(calibrate.confidences[others], calibrate.correct[others], thresholds, max_error)


def _record(
    measured: Measured, bundle: Bundle, backend: Backend, split: Split, parts: dict[str, int]
) -> CalibrationRecord:
    names = [entry.name for entry in bundle.classes]
    figures = figures_of(measured.calibrate, names)
    same_split = is_split_of_training(bundle, split.sha256)
    return CalibrationRecord(
        temperature=measured.temperature,
        threshold=measured.calibration.threshold,
        limits=measured.calibration.limits,
        typical=typical_of((measured.select, measured.before), names),
        promise=promise_record(measured.promise, measured.calibrate, bundle.classes, split, same_split),
        calibrate=figures,
        parts=parts,
        split_sha256=split.sha256,
        split_unit=split.unit,
        split_of_training=same_split,
        backend=backend.name,
        precision=backend.precision,
        version=version("cartcls"),
        made_at=now(),
        rare_classes=rare_sentence(figures.per_class) if measured.promise.reached else "",
    )


def typical_of(parts: Sequence[Judged], names: list[str]) -> Typical:
    """Typical distances, from parts that no mean or covariance was made of."""
    labels = np.concatenate([part.predicted for part in parts])
    found = [assessment for part in parts for assessment in part.found]
    return Typical(
        features=typical(np.array([assessment.distance for assessment in found]), labels, names),
        colours=typical(np.array([assessment.stain for assessment in found]), labels, names),
    )


def figures_of(calibrate: Judged, names: list[str]) -> CalibrateFigures:
    """Figures of cells that were judged by all checks."""
    labels = calibrate.evidence.labels
    return CalibrateFigures(
        **asdict(reliability(calibrate.probabilities, labels)),
        uncalibrated=reliability(softmax(calibrate.evidence.logits), labels).ece_equal_mass,
        reasons=reasons(calibrate.found),
        per_class=per_class(labels, calibrate.predicted, calibrate.passes, names),
        confusion=confusion_matrix(labels, calibrate.predicted, labels=range(len(names))).tolist(),
    )


def pictures(before: Judged, found: Promise, figures: CalibrateFigures, part: str) -> dict[str, bytes]:
    """Curves of the cells of a part: of all, and of those that no check but the confidence flags.

    Args:
        before: The cells, judged by all checks but the confidence.
        found: How the threshold was found on them.
        figures: Of them.
        part: Their name.
    """
    confidences, correct, tried = before.confidences, before.correct, before.passes
    return {
        RELIABILITY: draw_reliability(confidences, correct, figures, part),
        RISK_COVERAGE: draw_risk_coverage(confidences[tried], correct[tried], found, part),
    }


def calibration_file(calibration: Calibration, model_sha256: str) -> bytes:
    """`calibration.npz`, for the graph with that digest."""
    file = BytesIO()
    np.savez_compressed(
        file,
        allow_pickle=False,
        model_sha256=np.array(model_sha256),
        feature_means=calibration.features.means,
        feature_whitening=calibration.features.whitening,
        feature_outside=np.array(calibration.features.outside),
        stain_means=calibration.stains.means,
        stain_whitening=calibration.stains.whitening,
    )
    return file.getvalue()
