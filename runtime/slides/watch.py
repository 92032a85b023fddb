"""Watches a folder that a microscope writes to, and classifies files once they are stable.

The folder is polled, because file system events get lost. A file is stable when its size, times and inode have not
changed for a while; then it is read once. An incomplete file is retried, and rejected in the end. A file that goes away
keeps its row: what was reported is not taken back.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..images.decode import Fingerprint, fingerprint
from ..images.discover import find_images, readable_name
from ..inference.classifier import Classifier
from ..ledger.ledger import Ledger
from ..ledger.records import WAITING, LedgerImage
from ..mounts import file_system, is_network
from ..reports.summary import Summary
from .batch import describe_run
from .recognize import is_below
from .slide import PAGE_FACTOR, SlideWork

Clock = Callable[[], float]


@dataclass(frozen=True)
class WatchTimings:
    """Waiting times in seconds.

    Attributes:
        poll: Between two scans of the folder, at least; never less than ten times what a scan takes.
        quiet: Without a change, until a file is stable.
        incomplete: Until an incomplete file is rejected.
        retry: Until an incomplete file is retried; doubled each time.
        check: Between two checks whether files that have a row have changed.
        page: Between two updates of a slide's page; never less than thirty times what one takes.
    """

    poll: float = 1.0
    quiet: float = 2.0
    incomplete: float = 600.0
    retry: float = 2.0
    check: float = 60.0
    page: float = 5.0


NETWORK_QUIET = 10.0
AT_ONCE = WatchTimings(quiet=0, incomplete=0, check=0)
COST_FACTOR = 10
ALIVE = 1.0  # seconds between two signs of life during a look, at least
LOW_WATER = 256 * 1024**2  # bytes that must be free: thumbnails of a day, and room for the ledger's journal
FULL = (errno.ENOSPC, errno.EDQUOT)
BATCHES_AT_A_TIME = 8


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
    arrivals: dict[bytes, Arrival] = field(default_factory=dict)
    lost: set[bytes] = field(default_factory=set)
    page_due: bool = True
    page_written: float = float("-inf")
    summary: Summary | None = None


class Watch:
    """A watched capture folder. `step` is called in a loop.

    Attributes:
        full: Whether the disk is full.
        away: Why the capture folder cannot be watched now; empty while it can.
        unlisted: Folders in it that cannot be listed now, relative to it.
        cost: Seconds that the last scan took.
        done: How many images got a row so far, or were found to be unchanged.
    """

    def __init__(
        self,
        capture_dir: Path,
        out: Path,
        classifier: Classifier,
        ledger: Ledger,
        timings: WatchTimings,
        slide_level: int = 1,
        clock: Clock = time.monotonic,
        notify: Callable[[str], None] = lambda line: None,
        stop: Callable[[], bool] = lambda: False,
        alive: Callable[[], None] = lambda: None,
    ):
        """Prepare the watch; nothing is scanned yet.

        Args:
            capture_dir: Folder that the microscope writes to.
            out: Folder of all reports.
            classifier: The model, loaded.
            ledger: Ledger of `out`.
            timings: Waiting times.
            slide_level: Depth of the folders that are one slide each; images above it form one slide of their own.
            clock: Monotonic time in seconds.
            notify: Called with messages for the user.
            stop: Checked before each batch.
            alive: Called after each slide, and now and then while a look goes on, because both may take long.
        """
        self._capture_dir, self._out, self._classifier = capture_dir, out, classifier
        self._ledger, self._timings = ledger, timings
        self._level, self._clock, self._notify = slide_level, clock, notify
        self._stop, self._alive = stop, alive
        self._slides: dict[bytes, WatchedSlide] = {}
        self._checked, self._scanned = clock(), float("-inf")
        self._warned_of_depth = False
        self._alive_at = clock()
        self.away = ""
        self.unlisted: set[bytes] = set()
        self.full = False
        self.cost = 0.0
        self.done = 0

    @property
    def slides(self) -> list[WatchedSlide]:
        """All slides, in the order in which they were found."""
        return list(self._slides.values())

    def step(self) -> int:
        """Scan if it is time to, classify stable files, and update the reports; wait while the disk is full.

        Returns:
            How many images got a row, or were found to be unchanged.

        Raises:
            BackendError: The backend failed.
            OutputError: The folder of a report is taken.
            OSError: A report cannot be written, for another reason than a full disk.
        """
        free = shutil.disk_usage(self._out).free
        if free < LOW_WATER:
            self._wait_for_room(f"{free / 1024**2:.0f} MiB are free for {self._out}, less than {LOW_WATER >> 20}")
            return 0
        if self.full:
            self._notify(f"there is room again for {self._out}")
            self.full = False
        try:
            return self._scan_and_classify()
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._wait_for_room(f"the disk of {self._out} is full")
            return 0

    def _wait_for_room(self, reason: str) -> None:
        """Drop the state in memory; when there is room again, it is read from the ledger."""
        if not self.full:
            self._notify(f"{reason}: nothing is classified until there is room")
        self.full, self._scanned = True, float("-inf")
        self._slides.clear()

    def _scan_and_classify(self) -> int:
        started = self._clock()
        if started >= self._next_scan():
            self._scan()
            self._scanned, self.cost = started, 0.0 if self.away else self._clock() - started
        done = 0
        for slide in self.slides:
            done += self._classify(slide)
            self._alive()
        self.done += done
        for slide in self.slides:
            if slide.page_due and self._clock() >= self._next_page(slide):
                self._write_page(slide)
                break  # one page per step, so that the heartbeat is not late
        return done

    def finish(self, seconds: float = float("inf")) -> None:
        """Update as many pages as there is time for; the others are written at the next start."""
        started = self._clock()
        for slide in self.slides:
            if slide.page_due and self._clock() - started < seconds:
                self._write_page(slide)

    def waiting(self) -> int:
        """How many images have no row yet."""
        return sum(len(slide.arrivals) for slide in self.slides)

    def pause(self) -> float:
        """How long to wait before the next step, in seconds: until there is something to scan, classify or write."""
        if self.full:
            return self._timings.poll
        times = [self._next_scan()]
        for slide in self.slides:
            quiet = self._quiet(slide) if slide.arrivals else 0
            times += [max(a.since + quiet, a.not_before) for a in slide.arrivals.values() if a.fingerprint is not None]
            times += [self._next_page(slide)] if slide.page_due else []
        return max(0.0, min(times) - self._clock())

    def _next_scan(self) -> float:
        return self._scanned + max(self._timings.poll, COST_FACTOR * self.cost)

    def _next_page(self, slide: WatchedSlide) -> float:
        return slide.page_written + max(self._timings.page, PAGE_FACTOR * slide.work.page_cost)

    def _scan(self) -> None:
        unlisted: dict[bytes, OSError] = {}
        paths = list(find_images(self._capture_dir, self._out, unlisted.__setitem__, self._show_life))
        if not self._is_there(unlisted):
            return
        by_slide: dict[bytes, list[bytes]] = {}
        for path in paths:
            root, inner = self._split(path)
            by_slide.setdefault(root, []).append(inner)
        check = self._clock() - self._checked >= max(self._timings.check, COST_FACTOR * self.cost)
        for root in by_slide.keys() | self._slides.keys():
            slide = self._slides.get(root) or self._add_slide(root)
            self._update(slide, by_slide.get(root, []), check)
        if check:
            self._checked = self._clock()

    def _is_there(self, unlisted: dict[bytes, OSError]) -> bool:
        """Whether the capture folder could be listed; says what could not be."""
        if reason := unlisted.get(b""):
            because = "" if isinstance(reason, FileNotFoundError) else f" ({reason.strerror})"
            if not self.away:
                self._notify(f"{self._capture_dir} is not there{because}: waiting for it")
            self.away = f"{self._capture_dir} is not there{because}"
            return False
        if self.away:
            self._notify(f"{self._capture_dir} is there again")
        self.away = ""
        for folder in sorted(unlisted.keys() - self.unlisted):
            self._notify(f"{readable_name(folder)} cannot be listed ({unlisted[folder].strerror}): waiting for it")
        self.unlisted = set(unlisted)
        return True

    def _show_life(self) -> None:
        """Called after each step of a look that succeeded: where a share hangs or fails, there are none."""
        if self._clock() - self._alive_at >= ALIVE:
            self._alive()
            self._alive_at = self._clock()

    def _split(self, path: bytes) -> tuple[bytes, bytes]:
        """Folder of the slide, relative to the capture folder, and path in it."""
        parts = path.split(os.sep.encode())
        if len(parts) <= self._level:
            return b"", path
        if len(parts) > self._level + 1 and not self._warned_of_depth:
            self._warned_of_depth = True
            folder, slide = (readable_name(b"/".join(part)) for part in (parts[:-1], parts[: self._level]))
            self._notify(
                f"images in {folder} are part of the slide {slide}: if each folder in it is a slide, use"
                f" --slide-level {self._level + 1}"
            )
        return os.sep.encode().join(parts[: self._level]), os.sep.encode().join(parts[self._level :])

    def _add_slide(self, root: bytes) -> WatchedSlide:
        directory = self._capture_dir / os.fsdecode(root)
        run = describe_run(directory, self._classifier.backend)
        work = SlideWork(directory, self._out, run, self._classifier, self._ledger, self._notify)
        stopped = [image for image in work.ledger.images().values() if image.state == "queued"]
        work.ledger.postpone(stopped)  # by a full disk, so the attempt does not count
        slide = self._slides[root] = WatchedSlide(root, directory, work, work.ledger.images())
        slide.arrivals = {path: Arrival() for path, image in slide.known.items() if image.state in WAITING}
        return slide

    def _update(self, slide: WatchedSlide, paths: list[bytes], check: bool) -> None:
        """Update a slide from a scan: new, missing and changed files, and files that are not stable."""
        there, known = set(paths), slide.known
        away = [path for path in known.keys() - there if not self._is_unlisted(slide, path)]
        new = [path for path in paths if path not in known or known[path].state in ("vanished", "gone")]
        new = [path for path in new if path not in slide.arrivals]
        gone = [path for path in away if path in slide.arrivals]
        changed = [path for path in paths if self._may_have_changed(slide, path)] if check else []
        if new or gone:
            slide.work.record(new, [known[path] for path in gone if known[path].state in WAITING])
            known.update(slide.work.ledger.images([*new, *gone]))
            slide.page_due = True
        for path in gone:
            del slide.arrivals[path]
        slide.arrivals.update((path, Arrival()) for path in (*new, *changed))
        lost = {path for path in away if known[path].seq is not None}
        if newly := lost - slide.lost:
            self._recognize(slide, [], [known[path] for path in newly])
        slide.lost = {path for path in lost if path in known}
        for path in slide.arrivals:
            if self._is_unchanged(slide, path):
                self._show_life()

    def _may_have_changed(self, slide: WatchedSlide, path: bytes) -> bool:
        """Whether the file of an image that has a row is another one by its fingerprint."""
        if path in slide.arrivals or path not in slide.known:
            return False
        found = fingerprint(os.path.join(os.fsencode(slide.directory), path))
        if found is not None:
            self._show_life()
        return found is not None and found != slide.known[path].fingerprint

    def _is_unlisted(self, slide: WatchedSlide, path: bytes) -> bool:
        """Whether a path is in a folder that could not be listed at the last look."""
        return bool(self.unlisted) and is_below(os.path.join(slide.root, path), self.unlisted)

    def _recognize(self, slide: WatchedSlide, ready: list[bytes], newly: Sequence[LedgerImage] = ()) -> set[bytes]:
        """Find the rows that files belong to; returns those that need not be classified."""
        lost = [slide.known[path] for path in slide.lost] if ready else []
        settled, moved = slide.work.recognize(ready, lost, slide.known, newly, self._show_life)
        if moved:
            found = slide.work.ledger.images(moved)
            for path in moved - found.keys():
                slide.known.pop(path, None)
                slide.lost.discard(path)
            slide.known.update(found)
            slide.page_due = True
        for path in settled:
            slide.arrivals.pop(path, None)
        return settled

    def _is_unchanged(self, slide: WatchedSlide, path: bytes) -> bool:
        """Whether a file is there, and unchanged since it was last checked."""
        found = fingerprint(os.path.join(os.fsencode(slide.directory), path))
        if found is None or found != slide.arrivals[path].fingerprint:
            slide.arrivals[path] = Arrival(found, since=self._clock())
            return False
        return True

    def _classify(self, slide: WatchedSlide) -> int:
        if not slide.arrivals:
            return 0
        now = self._clock()
        quiet = self._quiet(slide)
        ready = [
            path
            for path, arrival in slide.arrivals.items()
            if arrival.fingerprint is not None and now - arrival.since >= quiet and now >= arrival.not_before
        ]
        ready = sorted(ready)[: BATCHES_AT_A_TIME * self._classifier.backend.batch_size]
        if quiet:
            ready = [path for path in ready if self._is_unchanged(slide, path)]
        settled = self._recognize(slide, ready) if ready else set[bytes]()
        ready = [path for path in ready if path not in settled]
        last_try = [path for path in ready if self._is_last_try(slide.arrivals[path], now)]
        done = len(settled)
        for paths, patient in ((last_try, False), ([path for path in ready if path not in set(last_try)], True)):
            if not paths:
                continue
            images = [slide.known[path] for path in paths]
            postponed = slide.work.classify(images, patient=patient, stop=self._stop)
            slide.known.update(slide.work.ledger.images(paths))
            slide.page_due = True
            for image in postponed:
                arrival = slide.arrivals[image.path]
                arrival.first_try = arrival.first_try if arrival.tries else now
                arrival.not_before = now + self._timings.retry * 2**arrival.tries
                arrival.tries += 1
            for path in paths:
                if slide.known[path].state not in WAITING:
                    del slide.arrivals[path]
                    done += 1
        return done

    def _is_last_try(self, arrival: Arrival, now: float) -> bool:
        return self._timings.incomplete == 0 or (
            arrival.tries > 0 and now - arrival.first_try >= self._timings.incomplete
        )

    def _quiet(self, slide: WatchedSlide) -> float:
        if self._timings.quiet and is_network(file_system(slide.directory)):
            return max(self._timings.quiet, NETWORK_QUIET)
        return self._timings.quiet

    def _write_page(self, slide: WatchedSlide) -> None:
        slide.summary = slide.work.write_summary()
        slide.page_due, slide.page_written = False, self._clock()
