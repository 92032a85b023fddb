"""Calibration of a bundle: temperature, limits, review threshold, and the proof of what they are worth."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from io import BytesIO
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from ..runtime.bundle.bundle import Bundle
from ..runtime.bundle.drift import SUBJECTS
from ..runtime.bundle.review import CALIBRATION, DISTANCE, STAIN, Assessment, Calibration, assess
from ..runtime.errors import DataError
from ..runtime.images.quality import FLAWS
from ..runtime.inference.backend import Backend
from ..runtime.inference.predictions import softmax
from .curves import draw_reliability, draw_risk_coverage
from .evidence import Evidence
from .limits import gaussians, limits, stain_gaussians, typical
from .reliability import bins, equal_width, reliability
from .risk import CONFIDENCE, Promise, clopper_pearson_upper, promise, risk_coverage, threshold_sequence
from .temperature import fit_temperature

PARTS = ("fit", "select", "calibrate")
FEWEST = {"fit": 16, "select": 16, "calibrate": 30}
RELIABILITY, RISK_COVERAGE = "reliability.png", "risk-coverage.png"
OTHER_SPLIT = (
    "this is not the split that the weights were trained with: the promise holds only if no cell of `select` or"
    " `calibrate` was in that training"
)
RARE = 0.01  # prevalence at which the sentence on rare classes is made


@dataclass(frozen=True)
class Calibrated:
    """A calibration, ready to be written: `record` into `bundle.json`, `files` beside it."""

    record: dict[str, Any]
    files: dict[str, bytes]


def check_parts(labels: Mapping[str, Sequence[str]], bundle: Bundle, max_error: float) -> None:
    """Make sure, before anything is computed, that a calibration can be made of these cells.

    Args:
        labels: True classes of the cells, by part.
        bundle: What is to be calibrated.
        max_error: Share of wrong cells that is asked for.

    Raises:
        DataError: Naming the part that has too few cells, or the classes that are missing or unknown.
    """
    names = [entry.name for entry in bundle.classes]
    zero_errors = next(n for n in range(1, 100_000) if clopper_pearson_upper(0, n) <= max_error)
    for part in PARTS:
        if unknown := sorted(set(labels[part]) - set(names)):
            raise DataError(f"{bundle.name} has no class {', '.join(unknown)}: its classes are {', '.join(names)}")
        if missing := [name for name in names if name not in labels[part]]:
            raise DataError(
                f"the part `{part}` has no cell of {', '.join(missing)}: add images of new slides to that part"
            )
        if len(labels[part]) < FEWEST[part]:
            raise DataError(
                f"the part `{part}` has {len(labels[part])} cells: at least {FEWEST[part]} are needed, and"
                f" {zero_errors} in `calibrate` to promise an error of at most {max_error:.2%}"
            )


def calibrate(
    bundle: Bundle, backend: Backend, evidence: Mapping[str, Evidence], source: dict[str, Any], max_error: float
) -> Calibrated:
    """Calibrate a bundle. Each step sees one part alone, and what was made of an earlier one is not changed again.

    Args:
        bundle: What is to be calibrated.
        backend: What ran it.
        evidence: Of the parts `fit`, `select` and `calibrate`.
        source: `split_sha256` and `split_unit` of the cells; another split than the training's is noted.
        max_error: Share of wrong cells among those that pass that is asked for.

    Raises:
        DataError: The cells do not allow it.
    """
    fit, select, calibrate = (evidence[part] for part in PARTS)
    names = [entry.name for entry in bundle.classes]
    temperature = fit_temperature(select.logits, select.labels)
    frozen = _frozen(fit, select)
    kept = softmax(select.logits, temperature).max(1)[[not a.doubts for a in assessments(frozen, select, temperature)]]
    others = np.array([not a.doubts for a in assessments(frozen, calibrate, temperature)])
    probabilities = softmax(calibrate.logits, temperature)
    confidences, correct = probabilities.max(1), probabilities.argmax(1) == calibrate.labels
    if not others.any() or not len(kept):
        raise DataError("quality and distance flag every cell: are `select` and `calibrate` from the same microscope?")
    thresholds = threshold_sequence(kept, int(others.sum()), max_error)
    found = promise(confidences[others], correct[others], thresholds, max_error)
    calibration = replace(frozen, threshold=found.chosen.threshold)
    passes = others & (confidences >= calibration.threshold)
    distances = assessments(calibration, select, temperature)
    same_split = is_split_of_training(bundle, source["split_sha256"])
    typicals = {
        subject: typical(np.array(values), select.logits.argmax(1), names)
        for subject, values in zip(
            SUBJECTS, ([a.distance for a in distances], [a.stain for a in distances]), strict=True
        )
    }
    record = {
        "temperature": temperature,
        "threshold": calibration.threshold,
        "limits": calibration.limits,
        "typical": typicals,
        "promise": _promise_record(found, int(others.sum()), passes, source["split_unit"], same_split),
        "calibrate": {
            **reliability(probabilities, calibrate.labels),
            "uncalibrated": reliability(softmax(calibrate.logits), calibrate.labels)["ece_equal_mass"],
            "reasons": reasons(assessments(calibration, calibrate, temperature)),
            "per_class": per_class(calibrate.labels, probabilities.argmax(1), passes, names),
        },
        "parts": {part: len(evidence[part].labels) for part in PARTS},
        **source,
        "split_of_training": same_split,
        "backend": backend.name,
        "precision": backend.precision,
        "version": version("cartcls"),
        "made_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    record["rare_classes"] = rare_sentence(record["calibrate"]["per_class"])
    files = {
        CALIBRATION: _arrays(calibration, hashlib.sha256(bundle.model).hexdigest()),
        RELIABILITY: draw_reliability(
            bins(confidences, correct, equal_width(confidences)), record["calibrate"], "calibrate"
        ),
        RISK_COVERAGE: draw_risk_coverage(
            *risk_coverage(confidences[others], correct[others]),
            found.chosen.passing / int(others.sum()),
            found.error,
            "calibrate",
        ),
    }
    return Calibrated(record, files)


def is_split_of_training(bundle: Bundle, split_sha256: str) -> bool:
    """Whether a split is the one by which the bundle's weights saw no cell of `select` and `calibrate`."""
    return bundle.manifest["source"]["split_sha256"] == split_sha256


def assessments(calibration: Calibration, evidence: Evidence, temperature: float) -> list[Assessment]:
    """What the edge would say of each cell."""
    confidences = softmax(evidence.logits, temperature).max(1)
    return [
        assess(calibration, float(confidence), features, quality)
        for confidence, features, quality in zip(confidences, evidence.features, evidence.qualities, strict=True)
    ]


def reasons(found: Sequence[Assessment]) -> dict[str, int]:
    """How many cells each reason flags, a cell with several for each; the first, `any`, counts every cell once."""
    counted = Counter(doubt.split(" (")[0] for assessment in found for doubt in assessment.doubts)
    return {"any": sum(bool(assessment.doubts) for assessment in found), **dict(counted.most_common())}


def per_class(
    labels: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp], passes: npt.NDArray[np.bool_], names: list[str]
) -> dict[str, dict[str, Any]]:
    """Counts by class: cells, those that pass, right ones among both, and cells of other classes that pass as it.

    `others_at_most` bounds the share of other cells that pass as it, with 95 % confidence, and `right_if_rare` is the
    share of its passing labels that would then be right where 1 cell in 100 is of that class.
    """
    rows = {}
    for i, name in enumerate(names):
        own, called = labels == i, predicted == i
        true, false = int((own & called & passes).sum()), int((~own & called & passes).sum())
        rate, most = true / max(own.sum(), 1), clopper_pearson_upper(false, int((~own).sum()))
        rows[name] = {
            "count": int(own.sum()),
            "sensitivity": float((own & called).sum() / max(own.sum(), 1)),
            "passing": int((own & passes).sum()),
            "right": true,
            "others_called_so": false,
            "others": int((~own).sum()),
            "others_at_most": most,
            "right_if_rare": float(rate * RARE / (rate * RARE + most * (1 - RARE))),
        }
    return rows


def rare_sentence(rows: dict[str, dict[str, Any]]) -> str:
    """What the counts by class mean on a slide where that class is rare."""
    name, row = min(rows.items(), key=lambda item: item[1]["right_if_rare"])
    return (
        "The promise is for all passing cells together, in the mix of `calibrate`, not for each class."
        f" {row['others_called_so']} of {row['others']} cells of other classes passed as {name}, and up to"
        f" {row['others_at_most']:.2%} may: on a slide where 1 cell in 100 is one, as little as"
        f" {row['right_if_rare']:.0%} of the passing labels {name!r} may be right: look at every cell of a rare class."
    )


def _frozen(fit: Evidence, select: Evidence) -> Calibration:
    """All but the threshold: what is usual, from `fit`, with limits from `select`."""
    features = gaussians(fit.features.astype(np.float64), fit.labels)
    stains = stain_gaussians(fit.stains)
    measured: dict[str, tuple[float | None, float | None]] = {
        DISTANCE: (None, limits(DISTANCE, features.distances(select.features))[1]),
        STAIN: (None, limits(STAIN, stains.distances(select.stains))[1]),
    }
    for name, (below, above) in FLAWS.items():
        low, high = limits(name, select.measure(name))
        measured[name] = (low if below else None, high if above else None)
    return Calibration(0.0, measured, features, stains)


def _promise_record(
    found: Promise, tried: int, passes: npt.NDArray[np.bool_], split_unit: str, same_split: bool
) -> dict[str, Any]:
    """What is promised, in figures and in a sentence; `tried` is the number of cells that no other check flags."""
    chosen, cells = found.chosen, len(passes)
    needed = None if found.needed is None else ceil(found.needed * cells / tried)
    sentence = (
        f"at most {found.error:.2%} of the passing cells are wrong, with {CONFIDENCE:.0%} confidence, for cells like"
        f" those of `calibrate` ({split_unit}): {chosen.wrong} of {chosen.passing} were, of {cells}"
    )
    if not found.reached:
        sentence += f"; {found.asked:.2%} was asked for, and "
        sentence += (
            f"would need {needed} cells like these"
            if needed
            else "more cells like these would not reach it: too large a share of them is wrong"
        )
    if split_unit == "split by group":
        sentence += "; cells are counted as independent, which takes tens of patients in `calibrate`"
    if not same_split:
        sentence += f"; {OTHER_SPLIT}"
    return {
        "asked": found.asked,
        "error": found.error,
        "reached": found.reached,
        "confidence": CONFIDENCE,
        "cells": cells,
        "passing": chosen.passing,
        "wrong": chosen.wrong,
        "coverage": float(passes.mean()),
        "needed": needed,
        "split_unit": split_unit,
        "sentence": sentence,
        "steps": [asdict(step) for step in found.steps],
    }


def _arrays(calibration: Calibration, model_sha256: str) -> bytes:
    file = BytesIO()
    arrays: dict[str, npt.NDArray[Any]] = {"model_sha256": np.array(model_sha256)}
    for name, found in (("feature", calibration.features), ("stain", calibration.stains)):
        arrays |= {f"{name}_means": found.means, f"{name}_whitening": found.whitening}
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()
