"""The station's ledger, beside that of the process that writes rows, and what each person was shown."""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..bundle.bundle import Bundle
from ..ledger.ledger import Ledger
from ..ledger.slide_ledger import SlideLedger
from .reviews import Shown
from .slides import Line, SlideView, banners, line_of, newest_first, view_of

VIEWS = 4  # slides that are kept in memory


class Desk:
    """What the pages of the station are made from; one thread at a time uses the ledger.

    Attributes:
        out: Folder of reports.
        bundle: The bundle that made all rows.
        due: Numbers of the slides whose report on the disk is older than their corrections and signatures.
        problem: Why reports on the disk cannot be written now; empty where they can.
    """

    def __init__(self, out: Path, ledger: Ledger, bundle: Bundle):
        self.out, self.bundle = out, bundle
        self.due: set[int] = set()
        self.problem = ""
        self._ledger, self._lock = ledger, threading.RLock()
        self._views: OrderedDict[int, SlideView] = OrderedDict()
        self._lines: dict[int, tuple[str, Line | None]] = {}
        self._shown: defaultdict[tuple[str, str, int], Shown] = defaultdict(set)

    @contextmanager
    def slide(self, number: int) -> Iterator[SlideLedger | None]:
        """The ledger of an open slide, for this thread alone; None where there is none of this number."""
        with self._lock:
            yield self._ledger.slide(number)

    @contextmanager
    def view(self, number: int) -> Iterator[SlideView | None]:
        """A slide as it is now, for this thread alone; None where there is none of this number."""
        with self._lock, self._ledger.database.snapshot():
            found = self._view(number)
        with self._lock:
            yield found

    def shown(self, session: str, person: str, number: int) -> Shown:
        """What a person was shown of a slide in a browser."""
        return self._shown[session, person, number]

    def lines(self) -> list[Line]:
        """The worklist, newest first."""
        with self._lock, self._ledger.database.snapshot():
            for slide in self._ledger.slides():
                revision = slide.revision()
                if self._lines.get(slide.slide.id, ("",))[0] != revision:
                    self._lines[slide.slide.id] = revision, line_of(slide, self.bundle)
            present = {slide.slide.id for slide in self._ledger.slides()}
        self._lines = {number: known for number, known in self._lines.items() if number in present}
        return newest_first(line for _, line in self._lines.values() if line)

    def revision(self) -> str:
        """A text that changes with the worklist, or with what its page says above it."""
        with self._lock:
            return "-".join((*(slide.revision() for slide in self._ledger.slides()), *self.banners()))

    def banners(self) -> list[str]:
        """What a person must know of the folder of reports."""
        return [*banners(self.out), *([self.problem] if self.problem else [])]

    def _view(self, number: int) -> SlideView | None:
        slide = self._ledger.slide(number)
        known = self._views.pop(number, None)
        if slide is None:
            return None
        if known is None or known.revision != slide.revision():
            known = view_of(slide, self.bundle)
        if known is not None:
            self._views[number] = known
            while len(self._views) > VIEWS:
                self._views.popitem(last=False)
        return known
