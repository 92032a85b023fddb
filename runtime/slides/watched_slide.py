"""A slide that is being watched: its images, and those of its files that wait to be read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..images.decode import Fingerprint, fingerprint
from ..ledger.records import WAITING, LedgerImage
from ..reports.summary import Summary
from .capture import CaptureFolder, Clock
from .slide import SlideWork


@dataclass
class Arrival:
    """A file that is not stable yet, or incomplete.

    Attributes:
        fingerprint: At the last scan; None before.
        since: Time since which it has been the same.
        tries: How often it was read and incomplete.
        first_try: Time of the first such try.
        not_before: Time from which it may be read again.
    """

    fingerprint: Fingerprint | None = None
    since: float = 0.0
    tries: int = 0
    first_try: float = 0.0
    not_before: float = 0.0


@dataclass
class WatchedSlide:
    """A slide that is being watched.

    Attributes:
        root: Folder of its images, relative to the capture folder.
        directory: Folder of its images.
        work: Its ledger entries and its report.
        known: Every image by path.
        capture: The capture folder.
        clock: Monotonic time in seconds.
        arrivals: Files that wait, or may have changed, by path.
        lost: Images that have a row, and whose file was not there at the last look.
        page_due: Whether its page is out of date.
        page_written: When its page was last written.
        summary: The last summary; None before.
    """

    root: bytes
    directory: Path
    work: SlideWork
    known: dict[bytes, LedgerImage]
    capture: CaptureFolder
    clock: Clock
    arrivals: dict[bytes, Arrival] = field(default_factory=dict)
    lost: set[bytes] = field(default_factory=set)
    page_due: bool = True
    page_written: float = float("-inf")
    summary: Summary | None = None

    def __post_init__(self) -> None:
        """Let the images wait that have no row for what their file holds now."""
        self.arrivals.update((path, Arrival()) for path, image in self.known.items() if image.state in WAITING)

    def update(self, paths: Sequence[bytes], check: bool) -> None:
        """Update it from a look: new, missing and changed files, and files that are not stable.

        Args:
            paths: Its images that are there.
            check: Whether files that have a row are checked, too.
        """
        there, known = set(paths), self.known
        if check:
            self.page_due |= self.work.info.note(self.capture.show_life)
        away = [path for path in known.keys() - there if not self.capture.is_unlisted(self.root, path)]
        new = [path for path in paths if path not in known or known[path].state in ("vanished", "gone")]
        new = [path for path in new if path not in self.arrivals]
        gone = [path for path in away if path in self.arrivals]
        changed = [path for path in paths if self._may_have_changed(path)] if check else []
        if new or gone:
            self.work.record(new, [known[path] for path in gone if known[path].state in WAITING])
            known.update(self.work.ledger.images([*new, *gone]))
            self.page_due = True
        for path in gone:
            del self.arrivals[path]
        self.arrivals.update((path, Arrival()) for path in (*new, *changed))
        lost = {path for path in away if known[path].seq is not None}
        if newly := lost - self.lost:
            self.recognize([], [known[path] for path in newly])
        self.lost = {path for path in lost if path in known}
        for path in self.arrivals:
            if self.is_unchanged(path):
                self.capture.show_life()

    def recognize(self, ready: Sequence[bytes], newly: Sequence[LedgerImage] = ()) -> set[bytes]:
        """Find the rows that files belong to.

        Args:
            ready: Files that are stable.
            newly: Images that have a row, and whose file was there at the last look, but not at this one.

        Returns:
            Paths of the files that need not be classified.
        """
        lost = [self.known[path] for path in self.lost] if ready else []
        settled, moved = self.work.recognize(ready, lost, self.known, newly, self.capture.show_life)
        if moved:
            found = self.work.ledger.images(moved)
            for path in moved - found.keys():
                self.known.pop(path, None)
                self.lost.discard(path)
            self.known.update(found)
            self.page_due = True
        for path in settled:
            self.arrivals.pop(path, None)
        return settled

    def is_unchanged(self, path: bytes) -> bool:
        """Whether a file that waits is there, and unchanged since it was last checked."""
        found = self._fingerprint(path)
        if found is None or found != self.arrivals[path].fingerprint:
            self.arrivals[path] = Arrival(found, since=self.clock())
            return False
        return True

    def _may_have_changed(self, path: bytes) -> bool:
        """Whether the file of an image that has a row is another one by its fingerprint."""
        if path in self.arrivals or path not in self.known:
            return False
        found = self._fingerprint(path)
        if found is not None:
            self.capture.show_life()
        return found is not None and found != self.known[path].fingerprint

    def _fingerprint(self, path: bytes) -> Fingerprint | None:
        return fingerprint(os.path.join(os.fsencode(self.directory), path))
