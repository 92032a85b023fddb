"""Watches a folder that a microscope writes to, and classifies files once they are stable.

The folder is polled, because file system events get lost. A file is stable when its size, times and inode have not
changed for a while; then it is read once. An incomplete file is retried, and rejected in the end. A file that goes away
keeps its row: what was reported is not taken back.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..inference.classifier import Classifier
from ..ledger.ledger import Ledger
from ..ledger.records import WAITING
from ..mounts import file_system, is_network
from .batch import describe_run
from .capture import CaptureFolder, Clock
from .slide import PAGE_FACTOR, SlideWork
from .watched_slide import Arrival, WatchedSlide


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
LOW_WATER = 256 * 1024**2  # bytes that must be free: thumbnails of a day, and room for the ledger's journal
FULL = (errno.ENOSPC, errno.EDQUOT)
BATCHES_AT_A_TIME = 8


class Watch:
    """A watched capture folder. `step` is called in a loop.

    Attributes:
        full: Whether the disk is full.
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
        self._ledger, self._timings, self._clock = ledger, timings, clock
        self._notify, self._stop, self._alive = notify, stop, alive
        self._capture = CaptureFolder(capture_dir, out, slide_level, clock, notify, alive)
        self._slides: dict[bytes, WatchedSlide] = {}
        self._told: set[str] = set()
        self._checked, self._scanned = clock(), float("-inf")
        self._changes = 0
        self.full = False
        self.cost = 0.0
        self.done = 0

    @property
    def slides(self) -> list[WatchedSlide]:
        """All slides, in the order in which they were found."""
        return list(self._slides.values())

    @property
    def away(self) -> str:
        """Why the capture folder cannot be watched now; empty while it can."""
        return self._capture.away

    @property
    def unlisted(self) -> set[bytes]:
        """Folders in it that cannot be listed now, relative to it."""
        return self._capture.unlisted

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
        changes, self._changes = self._changes, self._ledger.database.changes()
        for slide in self.slides:
            if changes != self._changes:  # a station has inserted something
                slide.page_due |= slide.work.take_reviews()
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
        by_slide = self._capture.look()
        if by_slide is None:
            return
        check = self._clock() - self._checked >= max(self._timings.check, COST_FACTOR * self.cost)
        for root in by_slide.keys() | self._slides.keys():
            slide = self._slides.get(root) or self._add_slide(root)
            slide.update(by_slide.get(root, []), check)
        if check:
            self._checked = self._clock()

    def _add_slide(self, root: bytes) -> WatchedSlide:
        directory = self._capture_dir / os.fsdecode(root)
        run = describe_run(directory, self._classifier.backend)
        work = SlideWork(
            directory,
            self._out,
            run,
            self._classifier,
            self._ledger,
            self._notify,
            self._tell_once,  # an error of one slide would end the watch of all
        )
        stopped = [image for image in work.ledger.images().values() if image.state == "queued"]
        work.ledger.postpone(stopped)  # by a full disk, so the attempt does not count
        self._slides[root] = WatchedSlide(root, directory, work, work.ledger.images(), self._capture, self._clock)
        return self._slides[root]

    def _tell_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._notify(line)

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
            ready = [path for path in ready if slide.is_unchanged(path)]
        settled = slide.recognize(ready) if ready else set[bytes]()
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
                later = now + self._timings.retry * 2**arrival.tries
                arrival.not_before = min(later, arrival.first_try + self._timings.incomplete)
                arrival.tries += 1
            for path in paths:
                if slide.known[path].state not in WAITING:
                    del slide.arrivals[path]
                    done += 1
        return done

    def _is_last_try(self, arrival: Arrival, now: float) -> bool:
        return self._timings.incomplete == 0 or (
            arrival.tries > 0 and now >= arrival.first_try + self._timings.incomplete
        )

    def _quiet(self, slide: WatchedSlide) -> float:
        if self._timings.quiet and is_network(file_system(slide.directory)):
            return max(self._timings.quiet, NETWORK_QUIET)
        return self._timings.quiet

    def _write_page(self, slide: WatchedSlide) -> None:
        slide.summary = slide.work.write_summary()
        slide.page_due, slide.page_written = False, self._clock()
