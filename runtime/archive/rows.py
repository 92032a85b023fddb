"""From answers to the rows of a slide: what only the whole slide says of its cells."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..bundle.drift import alarm
from ..ledger.records import Cell, Run
from ..reports.slide_review import slide_review
from ..reports.table import csv_line
from ..slides.pipeline import counted_once
from .stages import Answer

Features = npt.NDArray[np.float32] | None


@dataclass
class SlideRows:
    """The answers of a slide, as they come.

    Attributes:
        expected: How many rows it will have.
        answers: By the number of their first row: one that comes twice counts once.
    """

    expected: int
    answers: dict[int, Answer] = field(default_factory=dict)

    def add(self, answer: Answer) -> int:
        """Add an answer; the number of rows that are new."""
        first = answer.cells[0].seq
        new = 0 if first in self.answers else len(answer.cells)
        self.answers[first] = answer
        return new

    @property
    def is_complete(self) -> bool:
        """Whether all rows are there."""
        return sum(len(answer.cells) for answer in self.answers.values()) == self.expected

    @property
    def unsettled(self) -> int:
        """How many files could not be read, or are not as they were listed."""
        return sum(answer.unsettled for answer in self.answers.values())

    @property
    def in_order(self) -> list[Answer]:
        """Its answers, in the order of their rows."""
        return [self.answers[first] for first in sorted(self.answers)]


@dataclass(frozen=True)
class Finished:
    """A slide as the table has it.

    Attributes:
        cells: Its rows, as the slide makes them.
        lines: Their lines of `cells.csv`.
        features: Of each row; None where they are not asked for.
        alarm: What of the slide is unlike home; empty where nothing is.
    """

    cells: list[Cell]
    lines: list[str]
    features: list[Features] | None
    alarm: str


def finished(rows: SlideRows, bundle: Bundle, run: Run) -> Finished:
    """The rows of a slide, as `batch` makes them.

    Args:
        rows: All answers.
        bundle: The bundle that made them.
        run: What is the same for the whole run; backend, precision and device are those of each answer.
    """
    answers = rows.in_order
    cells = list(_without_copies(cell for answer in answers for cell in answer.cells))
    runs = [_made_by(run, answer) for answer in answers for _ in answer.cells]
    found = _alarm(cells, bundle)
    review = slide_review(cells, bundle, found)
    cells = [review.applied_to(cell) for cell in cells]
    lines = [csv_line(bundle, made, cell, bool(found)) for cell, made in zip(cells, runs, strict=True)]
    given = [answer.features for answer in answers]
    features = [one for some in given for one in some or ()] if all(some is not None for some in given) else None
    return Finished(cells, lines, features, found)


def _without_copies(cells: Iterator[Cell]) -> Iterator[Cell]:
    """Cells, in `seq` order, of which the first with the same bytes is counted."""
    first_of: dict[str | None, tuple[int, str]] = {}
    for cell in cells:
        labelled = cell.label is not None
        yield counted_once(cell, first_of.setdefault(cell.sha256, (cell.seq, cell.path)) if labelled else None)


def _alarm(cells: list[Cell], bundle: Bundle) -> str:
    record = bundle.manifest.calibration
    if record is None:
        return ""
    counted = [(cell.label or "", cell.distance, cell.stain) for cell in cells if cell.can_be_corrected]
    far = float("inf")
    measured = [(label, far if one is None else one, far if two is None else two) for label, one, two in counted]
    return ", ".join(alarm(measured, record.typical))


def _made_by(run: Run, answer: Answer) -> Run:
    backend, precision, device = answer.made_by
    return replace(run, backend=backend, precision=precision, device=device)
