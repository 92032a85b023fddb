"""Which cells a person must look at because of the slide that they are on.

The ledger keeps what a cell's own picture says; what the whole slide says changes as its cells arrive, and is added
here, wherever rows are shown.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..bundle.bundle import Bundle
from ..bundle.calibration import SlideLimits
from ..fields.reading import OTHER_SCALE
from ..images.quality import FLAWS
from ..inference.predictions import AT_EDGE, JOINED, LIKE_PLATELET, RARE
from ..ledger.records import Cell
from ..ledger.slide_ledger import SlideLedger
from .drift import take_looks

PROMISE_WITHDRAWN = "withdrawn"
TOO_FEW = "too few cells to tell whether this slide is like home"
UNLIKE = "this slide is unlike those that the bundle was calibrated on"
WHOLE_FIELD, NO_CELL = FLAWS["size"][1], FLAWS["cell"][0]
CAN_BE_RARE = ("leukocyte", "other")  # a laboratory's own class, such as of plasma cells, may be of kind `other`
OF_PICTURE = (WHOLE_FIELD, NO_CELL, AT_EDGE, JOINED, OTHER_SCALE, LIKE_PLATELET)
"""What a picture shows, whatever the slide is like."""


@dataclass(frozen=True)
class SlideReview:
    """What a slide as a whole says of its cells.

    Attributes:
        alarm: What of it is unlike home, such as `colours`; empty where nothing is. No cell is `ok` then.
        too_few: Whether it has too few cells to tell. No cell is `ok` then, either.
        rare: Names of the classes that a person always looks at, and of those that are rare on this slide.
    """

    alarm: str
    too_few: bool
    rare: frozenset[str]

    @property
    def key(self) -> str:
        """The same as text: two slides with the same one treat their cells alike."""
        return "; ".join((self.alarm, "too few" if self.too_few else "", *sorted(self.rare)))

    def applied_to(self, cell: Cell) -> Cell:
        """The row of a cell as its slide makes it; after an alarm, that is its one reason beside what it shows."""
        if not cell.can_be_corrected:
            return cell
        own = [reason for reason in cell.reason.split("; ") if reason]
        if self.alarm:
            reasons = [f"{UNLIKE}: {self.alarm}", *(reason for reason in own if reason.startswith(OF_PICTURE))]
        else:
            is_rare = cell.label in self.rare and RARE not in own
            reasons = [TOO_FEW] * self.too_few + [RARE] * is_rare + own
        return replace(cell, status="review" if reasons else cell.status, reason="; ".join(reasons))


def slide_review(cells: Iterable[Cell], bundle: Bundle, alarm: str) -> SlideReview:
    """What a slide says of its cells.

    Args:
        cells: All rows, as the ledger has them.
        bundle: The bundle that made them.
        alarm: What of the slide is unlike home; empty where nothing is.
    """
    return _review(Counter(cell.label for cell in cells if cell.can_be_corrected and cell.label), bundle, alarm)


def review_of(ledger: SlideLedger, bundle: Bundle) -> SlideReview:
    """What a slide in the ledger says of its cells, after the looks at it that are due."""
    take_looks(ledger, bundle)
    return _review(ledger.labels(), bundle, ledger.alarm())


def cells_of(ledger: SlideLedger, bundle: Bundle) -> list[Cell]:
    """Current rows of a slide, as the slide makes them, in `seq` order."""
    review = review_of(ledger, bundle)
    return [review.applied_to(cell) for cell in ledger.cells()]


def promise_of(bundle: Bundle, has_alarm: bool) -> str:
    """What the error that was proved for `ok` cells is worth on a slide: `promised`, `estimated, no promise`, ….

    Args:
        bundle: The bundle that made the rows.
        has_alarm: Whether the slide is unlike home.
    """
    record = bundle.manifest.calibration
    if record is None or bundle.problem:
        return ""
    return PROMISE_WITHDRAWN if has_alarm else record.promise.word


def _review(labels: Mapping[str, int], bundle: Bundle, alarm: str) -> SlideReview:
    record = bundle.manifest.calibration
    limits = record.slide if record and bundle.calibrated else SlideLimits(0, 0, 0)  # else every cell is for review
    too_few = bundle.calibrated and sum(labels.values()) < limits.cells
    counts = {entry.name: labels.get(entry.name, 0) for entry in bundle.classes if entry.kind in CAN_BE_RARE}
    fewest = max(limits.of_class, limits.share * sum(counts.values()))
    always = {entry.name for entry in bundle.classes if entry.always_review}
    return SlideReview(alarm, too_few, frozenset(always | {name for name, n in counts.items() if n < fewest}))
