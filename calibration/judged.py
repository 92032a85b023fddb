"""Labelled cells as the edge would judge them, and counts of what passes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..runtime.bundle.calibration import ClassCounts, SlideLimits
from ..runtime.bundle.manifest import CellClass
from ..runtime.bundle.review import Assessment, Calibration, assess
from ..runtime.inference.predictions import RARE, softmax
from .evidence import Evidence
from .risk import clopper_pearson_upper

RAREST = SlideLimits().share  # of the leukocytes of a slide: each cell of a rarer class is for review


@dataclass(frozen=True)
class Judged:
    """Labelled cells, and what the edge would say of them.

    Attributes:
        evidence: Of the cells.
        probabilities: After temperature, (N, K).
        found: What speaks against each label.
    """

    evidence: Evidence
    probabilities: npt.NDArray[np.float64]
    found: list[Assessment]

    @property
    def predicted(self) -> npt.NDArray[np.intp]:
        """Indices of the classes with the highest probability, (N,)."""
        return self.probabilities.argmax(1)

    @property
    def confidences(self) -> npt.NDArray[np.float64]:
        """Their probabilities, (N,)."""
        return self.probabilities.max(1)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether they are the true ones, (N,)."""
        return self.predicted == self.evidence.labels

    @property
    def passes(self) -> npt.NDArray[np.bool_]:
        """Whether nothing speaks against them, (N,)."""
        return np.array([not assessment.reasons for assessment in self.found])

    @property
    def wrongly_ok(self) -> npt.NDArray[np.bool_]:
        """Whether nothing speaks against them though they are wrong, (N,)."""
        return self.passes & ~self.correct


def judge(calibration: Calibration, evidence: Evidence, temperature: float) -> Judged:
    """Judge cells as the edge would."""
    probabilities = softmax(evidence.logits, temperature)
    found = [
        assess(calibration, float(confidence), features, quality)
        for confidence, features, quality in zip(
            probabilities.max(1), evidence.features, evidence.qualities, strict=True
        )
    ]
    return Judged(evidence, probabilities, found)


def always_reviewed(judged: Judged, classes: Sequence[CellClass]) -> Judged:
    """The same cells, with those for review whose labels a person always sees."""
    found = [
        replace(assessment, reasons=[RARE, *assessment.reasons]) if classes[label].always_review else assessment
        for assessment, label in zip(judged.found, judged.predicted, strict=True)
    ]
    return replace(judged, found=found)


def reasons(found: Sequence[Assessment]) -> dict[str, int]:
    """How many cells each reason flags, a cell with several for each; the first, `any`, counts every cell once."""
    counted = Counter(reason.split(" (")[0] for assessment in found for reason in assessment.reasons)
    return {"any": sum(bool(assessment.reasons) for assessment in found), **dict(counted.most_common())}


def per_class(
    labels: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp], passes: npt.NDArray[np.bool_], names: list[str]
) -> dict[str, ClassCounts]:
    """Count by class what passes, and what does so wrongly."""
    rows = {}
    for i, name in enumerate(names):
        own, called = labels == i, predicted == i
        true, false = int((own & called & passes).sum()), int((~own & called & passes).sum())
        share, most = RAREST * true / max(own.sum(), 1), clopper_pearson_upper(false, int((~own).sum()))
        rows[name] = ClassCounts(
            count=int(own.sum()),
            sensitivity=float((own & called).sum() / max(own.sum(), 1)),
            passing=int((own & passes).sum()),
            right=true,
            others_called_so=false,
            others=int((~own).sum()),
            others_at_most=most,
            right_if_rare=float(share / (share + most * (1 - RAREST))) if true + false else None,
        )
    return rows


def rare_sentence(rows: Mapping[str, ClassCounts]) -> str:
    """What the counts by class mean on a slide where a class is as rare as can be while its cells may be `ok`."""
    rarely_right = {name: row.right_if_rare for name, row in rows.items() if row.right_if_rare is not None}
    if not rarely_right:
        return ""
    name = min(rarely_right, key=lambda name: rarely_right[name])
    row = rows[name]
    return (
        "The bound is for all cells together, not for each class."
        f" {row.others_called_so} of {row.others} cells of other classes were marked ok as {name}, and up to"
        f" {row.others_at_most:.2%} may: on a slide where {RAREST * 100:.0f} cells in 100 are one, as little as"
        f" {rarely_right[name]:.0%} of the labels {name!r} marked ok may be right. Of leukocyte classes"
        " that are rarer, each cell is for review."
    )
