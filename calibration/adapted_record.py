"""What an adapted bundle knows of itself, in the form of a calibration."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

from msgspec import UNSET

from ..runtime.bundle.bundle import MODEL, Bundle
from ..runtime.bundle.calibration import SLIDES_TO_PROMISE, CalibrationRecord, PromiseRecord, enough_to_estimate
from ..runtime.bundle.manifest import CellClass
from ..runtime.bundle.review import CALIBRATION
from ..runtime.inference.backend import Backend
from ..runtime.ledger.records import now
from .adapt import Adapted
from .adapted_head import HOME_CELLS, home_cells_file
from .calibrate import Calibrated, calibration_file, figures_of, pictures, typical_of
from .judged import Judged, always_reviewed, rare_sentence
from .own_cells import OwnCells
from .picture_measures import PictureMeasures
from .risk import CONFIDENCE

PART = "out of fold"  # the name of the tested cells, where a calibration has parts of a split
FLAGGED = "flagged"  # the same of those that only trained the head


def adapted_calibration(
    adapted: Adapted,
    own: OwnCells,
    classes: Sequence[CellClass],
    bundle: Bundle,
    backend: Backend,
    measures: PictureMeasures | None = None,
) -> Calibrated:
    """Put the cross-validation on record, as the calibration of the adapted bundle.

    Args:
        adapted: What was found.
        own: The labelled cells.
        classes: Of the adapted bundle.
        bundle: The adapted bundle, not calibrated yet.
        backend: What ran the cells.
        measures: Of the pictures of the cells that `home.npz` keeps.
    """
    judged = always_reviewed(adapted.judged, classes)
    record = _record(adapted, judged, own, backend)
    calibration = replace(adapted.calibration, reached=record.promise.reached)
    files = {
        CALIBRATION: calibration_file(calibration, bundle.manifest.files[MODEL]),
        HOME_CELLS: home_cells_file(own.views.features, own.cells.labels, measures),
    }
    return Calibrated(record, files | pictures(adapted.before, adapted.promise, record.calibrate, PART))


def _record(adapted: Adapted, judged: Judged, own: OwnCells, backend: Backend) -> CalibrationRecord:
    names = own.cells.classes
    figures = figures_of(judged, names)
    promise = _promise(adapted, judged, own.slides, own.unit)
    return CalibrationRecord(
        temperature=adapted.temperature,
        threshold=adapted.calibration.threshold,
        limits=adapted.calibration.limits,
        typical=typical_of((adapted.before,), names),
        promise=promise,
        calibrate=figures,
        parts=({FLAGGED: own.untested} if own.untested else {}) | {PART: len(judged.found)},
        split_sha256=own.sha256,
        split_unit=own.in_words,
        split_of_training=True,
        backend=backend.name,
        precision=backend.precision,
        version=version("cartcls"),
        made_at=now(),
        rare_classes=rare_sentence(figures.per_class) if promise.reached else "",
        reviewed=own.reviewed.extents if own.reviewed else UNSET,
    )


def _promise(adapted: Adapted, judged: Judged, slides: int | None, unit: str) -> PromiseRecord:
    found, cells = adapted.promise, len(judged.found)
    passing, wrong = int(judged.passes.sum()), int(judged.wrongly_ok.sum())
    reached = found.reached and enough_to_estimate(cells, slides)
    return PromiseRecord(
        asked=found.asked,
        error=found.asked if reached else None,
        reached=reached,
        confidence=CONFIDENCE,
        cells=cells,
        passing=passing,
        wrong=wrong,
        coverage=passing / cells,
        chosen=found.chosen,
        needed=found.needed,
        split_unit=unit,
        sentence=_sentence(found.asked, reached, cells, wrong, slides, unit),
        steps=tuple(found.steps),
        slides=slides,
        natural=None,
        cross_validated=True,
    )


def _sentence(asked: float, reached: bool, cells: int, wrong: int, slides: int | None, unit: str) -> str:
    if not reached:
        mend = "Label cells of more slides, or allow more with --max-error"
        if slides is None:
            mend = "Name the slide of each image with --groups"
        return (
            f"no cell is marked ok, because these {cells} cells ({unit}) do not show that at most {asked:.2%} of all"
            f" would be wrong and ok. {mend}"
        )
    return (
        f"{wrong} of {cells} cells were wrong and marked ok by heads that had not seen them ({unit}); the threshold is"
        f" set for at most {asked:.2%}. The same cells trained the head, so nothing is promised: that takes labelled"
        f" cells of at least {SLIDES_TO_PROMISE} other slides, and `cartcls calibrate`"
    )
