"""Calibration of a bundle: temperature, limits, review threshold, and the proof of what they are worth."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from io import BytesIO
from math import ceil

import numpy as np
from msgspec.structs import asdict

from ..runtime.bundle.bundle import Bundle
from ..runtime.bundle.calibration import (
    DISTANCE,
    STAIN,
    CalibrateFigures,
    CalibrationRecord,
    Limits,
    PromiseRecord,
    Typical,
)
from ..runtime.bundle.review import CALIBRATION, Calibration
from ..runtime.errors import DataError
from ..runtime.images.quality import FLAWS
from ..runtime.inference.backend import Backend
from ..runtime.inference.predictions import softmax
from ..runtime.ledger.records import now
from .evidence import Evidence
from .judged import Judged, judge, per_class, rare_sentence, reasons
from .limits import gaussians, limits, stain_gaussians, typical
from .plots import draw_reliability, draw_risk_coverage
from .reliability import reliability
from .risk import CONFIDENCE, Promise, cells_to_stand, promise, threshold_sequence
from .split import FEWEST, Split
from .temperature import fit_temperature

PARTS = tuple(FEWEST)
RELIABILITY, RISK_COVERAGE = "reliability.png", "risk-coverage.png"
OTHER_SPLIT = (
    "this is not the split that the weights were trained with: the guarantee holds only if no cell of `select` or"
    " `calibrate` was in that training"
)


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
    bundle: Bundle, backend: Backend, evidence: Mapping[str, Evidence], split: Split, max_error: float
) -> Calibrated:
    """Calibrate a bundle. Each step sees one part alone, and what was made of an earlier one is not changed again.

    Where the error that is asked for cannot be guaranteed, the record says so, and no cell is `ok` by it.

    Args:
        bundle: What is to be calibrated.
        backend: What ran it.
        evidence: Of the parts `fit`, `select` and `calibrate`.
        split: Where the cells are from; another one than the training's is noted.
        max_error: Share of wrong cells among those that are `ok` that is asked for.

    Raises:
        DataError: The cells do not allow it.
    """
    measured = _measure(evidence, max_error)
    record = _record(measured, bundle, backend, split, {part: len(evidence[part].labels) for part in PARTS})
    files = {CALIBRATION: _arrays(measured.calibration, hashlib.sha256(bundle.model).hexdigest())}
    return Calibrated(record, files | _pictures(measured, record.calibrate))


def is_split_of_training(bundle: Bundle, split_sha256: str) -> bool:
    """Whether a split is the one by which the bundle's weights saw no cell of `select` and `calibrate`."""
    return bundle.manifest.source.split_sha256 == split_sha256


@dataclass(frozen=True)
class _Measured:
    """What was found, and what it says of the cells.

    Attributes:
        select: Judged by all checks but the confidence.
        before: `calibrate`, judged in the same way.
        calibrate: The same cells, judged by all checks.
    """

    temperature: float
    calibration: Calibration
    promise: Promise
    select: Judged
    before: Judged
    calibrate: Judged


def _measure(evidence: Mapping[str, Evidence], max_error: float) -> _Measured:
    fit, select, calibrate = (evidence[part] for part in PARTS)
    temperature = fit_temperature(select.logits, select.labels)
    usual = _usual(fit, select)
    judged, before = judge(usual, select, temperature), judge(usual, calibrate, temperature)
    found = _promise(judged, before, max_error)
    calibration = replace(usual, threshold=found.chosen.threshold, reached=found.reached)
    return _Measured(temperature, calibration, found, judged, before, judge(calibration, calibrate, temperature))


def _usual(fit: Evidence, select: Evidence) -> Calibration:
    """All but the threshold: what is usual, from `fit`, with limits from `select`."""
    features = gaussians(fit.features.astype(np.float64), fit.labels)
    stains = stain_gaussians(fit.stains)
    measured: Limits = {
        DISTANCE: (None, limits(DISTANCE, features.distances(select.features))[1]),
        STAIN: (None, limits(STAIN, stains.distances(select.stains))[1]),
    }
    for name, (below, above) in FLAWS.items():
        low, high = limits(name, select.measure(name))
        measured[name] = (low if below else None, high if above else None)
    return Calibration(0.0, measured, features, stains)


def _promise(select: Judged, calibrate: Judged, max_error: float) -> Promise:
    """Find the threshold, for cells that no other check flags."""
    kept, others = select.confidences[select.passes], calibrate.passes
    if not others.any() or not len(kept):
        raise DataError("quality and distance flag every cell: are `select` and `calibrate` from the same microscope?")
    thresholds = threshold_sequence(kept, int(others.sum()), max_error)
    return promise(calibrate.confidences[others], calibrate.correct[others], thresholds, max_error)


def _record(
    measured: _Measured, bundle: Bundle, backend: Backend, split: Split, parts: dict[str, int]
) -> CalibrationRecord:
    names = [entry.name for entry in bundle.classes]
    figures = _figures(measured.calibrate, names)
    same_split = is_split_of_training(bundle, split.sha256)
    return CalibrationRecord(
        temperature=measured.temperature,
        threshold=measured.calibration.threshold,
        limits=measured.calibration.limits,
        typical=_typical(measured.select, names),
        promise=_promise_record(measured.promise, measured.calibrate, split.unit, same_split),
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


def _typical(select: Judged, names: list[str]) -> Typical:
    labels = select.evidence.logits.argmax(1)
    return Typical(
        features=typical(np.array([assessment.distance for assessment in select.found]), labels, names),
        colours=typical(np.array([assessment.stain for assessment in select.found]), labels, names),
    )


def _figures(calibrate: Judged, names: list[str]) -> CalibrateFigures:
    labels = calibrate.evidence.labels
    return CalibrateFigures(
        **asdict(reliability(calibrate.probabilities, labels)),
        uncalibrated=reliability(softmax(calibrate.evidence.logits), labels).ece_equal_mass,
        reasons=reasons(calibrate.found),
        per_class=per_class(labels, calibrate.predicted, calibrate.passes, names),
    )


def _promise_record(found: Promise, calibrate: Judged, split_unit: str, same_split: bool) -> PromiseRecord:
    ok = calibrate.passes
    return PromiseRecord(
        asked=found.asked,
        error=found.asked if found.reached else None,
        reached=found.reached,
        confidence=CONFIDENCE,
        cells=len(ok),
        passing=found.chosen.passing,
        wrong=found.chosen.wrong,
        coverage=float(ok.mean()),
        needed=found.needed,
        split_unit=split_unit,
        sentence=_promise_sentence(found, len(ok), split_unit, same_split),
        steps=tuple(found.steps),
    )


def _promise_sentence(found: Promise, cells: int, split_unit: str, same_split: bool) -> str:
    chosen = found.chosen
    if not found.reached:
        return (
            f"no cell is marked ok: that at most {found.asked:.2%} of them are wrong cannot be guaranteed with"
            f" {CONFIDENCE:.0%} confidence from the {cells} cells of `calibrate` ({split_unit}), of which"
            f" {chosen.passing} pass the checks and {chosen.wrong} of those are wrong; {_remedy(found, cells)}"
        )
    sentence = (
        f"at most {found.asked:.2%} of the cells marked ok are wrong, with {CONFIDENCE:.0%} confidence, for cells like"
        f" those of `calibrate` ({split_unit}): {chosen.wrong} of {chosen.passing} were, of {cells}"
    )
    if split_unit == "split by group":
        sentence += "; cells are counted as independent, which takes tens of patients in `calibrate`"
    if not same_split:
        sentence += f"; {OTHER_SPLIT}"
    return sentence


def _remedy(found: Promise, cells: int) -> str:
    """What would make a calibration of cells that do not allow one."""
    if found.chosen.wrong / max(found.chosen.passing, 1) >= found.asked:
        return (
            "that share is above what was asked for. Train the model on more cells, ask for less with --max-error, or"
            f" add cells of new slides: at least {found.needed} that pass are needed, if no more are wrong"
        )
    in_all = ""
    if found.needed and found.chosen.passing:
        in_all = f", or about {ceil(found.needed * cells / found.chosen.passing)} in all"
    return f"{found.needed} that pass are needed{in_all}. Add cells of new slides, or ask for less with --max-error"


def _pictures(measured: _Measured, figures: CalibrateFigures) -> dict[str, bytes]:
    """Curves of the cells of `calibrate`: of all, and of those that no other check flags."""
    confidences, correct, tried = measured.before.confidences, measured.before.correct, measured.before.passes
    return {
        RELIABILITY: draw_reliability(confidences, correct, figures, "calibrate"),
        RISK_COVERAGE: draw_risk_coverage(confidences[tried], correct[tried], measured.promise, "calibrate"),
    }


def _arrays(calibration: Calibration, model_sha256: str) -> bytes:
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
