"""Slides as the station shows them: their rows with all corrections, their summary, and their line in the worklist."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..bundle.bundle import Bundle
from ..ledger.correction_table import last_of_each
from ..ledger.folder import watch_has_stopped
from ..ledger.records import Cell, Run
from ..ledger.signatures import Signature, signatures_of
from ..ledger.slide_ledger import SlideLedger
from ..reports.page_data import ROWS, row_of
from ..reports.slide_review import cells_of
from ..reports.slide_state import SlideState
from ..reports.summary import Summary, summarize

LOW_WATER = 256 * 1024**2  # as of a watch, which classifies nothing below it


@dataclass(frozen=True)
class SlideView:
    """A slide at one time.

    Attributes:
        ledger: Its ledger.
        revision: Changes with everything below.
        run: The run that made the latest rows.
        cells: All rows, as the slide makes them, in `seq` order.
        last: Number of the last correction of each cell that has one.
        summary: Their summary.
    """

    ledger: SlideLedger
    revision: str
    run: Run
    cells: Sequence[Cell]
    last: dict[int, int]
    summary: Summary

    def rows(self, number: int) -> list[list[object]]:
        """Rows of a file of the page, each with the number of its last correction."""
        return [self.row(cell) for cell in self.cells if (cell.seq - 1) // ROWS == number]

    def row(self, cell: Cell) -> list[object]:
        """A row as the page takes it."""
        return [*row_of(cell), self.last.get(cell.seq, 0)]

    @cached_property
    def digests(self) -> list[str]:
        """A text for each file of rows that changes with it."""
        last = max((cell.seq for cell in self.cells), default=0)
        data = (json.dumps(self.rows(number)).encode() for number in range(-(-last // ROWS)))
        return [hashlib.sha256(text).hexdigest()[:12] for text in data]

    @cached_property
    def by_seq(self) -> dict[int, Cell]:
        """Rows by their number."""
        return {cell.seq: cell for cell in self.cells}


@dataclass(frozen=True)
class Line:
    """A slide's line in the worklist.

    Attributes:
        state: `to review`, `to sign`, `signed` or `void`.
        cells: How many are counted, or were reviewed.
        newest: When its last row was made.
    """

    id: int
    name: str
    state: str
    cells: int
    reviewed: int
    awaiting: int
    rejected: int
    waiting: int
    alarm: str
    signers: Sequence[str]
    newest: str

    @property
    def percent(self) -> int:
        """Share of the cells that a person has reviewed, rounded down."""
        return 100 * self.reviewed // self.cells if self.cells else 0


def view_of(slide: SlideLedger, bundle: Bundle) -> SlideView | None:
    """A slide now; None where it has no run yet."""
    run = slide.last_run()
    if run is None:
        return None
    cells = cells_of(slide, bundle)
    last = last_of_each(slide.database, slide.slide.id)
    summary = summarize(bundle, run, cells, SlideState.of(slide))
    return SlideView(slide, slide.revision(), run, cells, last, summary)


def line_of(slide: SlideLedger, bundle: Bundle) -> Line | None:
    """A slide's line in the worklist; None where it has no run yet."""
    run = slide.last_run()
    if run is None:
        return None
    cells = [cell for cell in cells_of(slide, bundle) if cell.status != "gone"]
    status = Counter(cell.present_status for cell in cells)
    awaiting, signatures = sum(cell.awaits_review for cell in cells), signatures_of(slide)
    waiting = slide.waiting()
    return Line(
        id=slide.slide.id,
        name=slide.slide.name,
        state=_state(awaiting or waiting, signatures),
        cells=status["ok"] + status["review"] + status["reviewed"],
        reviewed=status["reviewed"],
        awaiting=awaiting,
        rejected=status["rejected"],
        waiting=waiting,
        alarm=slide.alarm(),
        signers=[made.signer for made in _valid(signatures) or signatures[-1:]],
        newest=max((cell.analysed_at for cell in cells), default=run.started_at),
    )


def newest_first(lines: Iterable[Line]) -> list[Line]:
    """Lines in the order of the worklist."""
    return sorted(lines, key=lambda line: (line.newest, line.id), reverse=True)


def banners(out: Path) -> list[str]:
    """What a person must know who waits for new cells."""
    said = []
    if watch_has_stopped(out):
        said.append("The watch has stopped: images that arrive are not classified. Start it again: cartcls watch")
    free = shutil.disk_usage(out).free
    if free < LOW_WATER:
        said.append(f"The disk is full ({free >> 20} MiB are free): nothing is classified until there is room")
    return said


def _state(open_work: int, signatures: Sequence[Signature]) -> str:
    if _valid(signatures):
        return "signed"
    if signatures:
        return "void"
    return "to review" if open_work else "to sign"


def _valid(signatures: Sequence[Signature]) -> list[Signature]:
    return [made for made in signatures if not made.is_void]
