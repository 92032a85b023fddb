"""One slide at work: what the ledger knows of it, its report, and the way of each image from the one to the other."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ..errors import OutputError
from ..images.decode import fingerprint
from ..images.discover import short_digest, slide_name
from ..inference.backend import Backend
from ..ledger.ledger import Ledger
from ..ledger.records import CSV, THUMBNAILS, Cell, Run, csv_header, csv_line
from ..ledger.schema import MAX_ATTEMPTS, WAITING, Known, Result, Slide
from ..reports.page import write_pages
from ..reports.summary import Summary
from ..reports.table import project
from .pipeline import Reading, classify_files, rejected

DISCOVERIES = 500
PAGE_FACTOR = 30  # how much longer than writing a page it takes, at least, until it is written again
QUARANTINED = f"ended the program {MAX_ATTEMPTS} times, and was not opened again"


class SlideWork:
    """One slide at work.

    Attributes:
        slide: The slide in the ledger.
        directory: Folder of its report.
        page_cost: How long it took to write its page last, in seconds.
    """

    def __init__(
        self,
        slide_dir: Path,
        out: Path,
        run: Run,
        backend: Backend,
        ledger: Ledger,
        tell: Callable[[str], None] = lambda line: None,
    ):
        """Find or begin a slide's report, and mend its table where the last process left it behind the ledger.

        Args:
            slide_dir: Folder of its images.
            out: Folder of all reports.
            run: What is the same for all rows that are to come.
            backend: The model, loaded.
            ledger: Ledger of `out`.
            tell: Called with a line on what people should know.

        Raises:
            OutputError: The place of its report is taken.
            OSError: The report cannot be written.
        """
        self.slide = _slide(slide_dir, out, ledger)
        self.directory = out / self.slide.name
        self.page_cost = 0.0
        self._root = os.fsencode(slide_dir)
        self._backend, self._ledger, self._tell = backend, ledger, tell
        self._first_of: dict[str | None, str] | None = None
        noted = ledger.last_run(self.slide, run.bundle)
        self._run = replace(run, started_at=noted.started_at) if noted else run
        self._shown = noted or run  # what the rows are by: this run only once it makes one
        if noted is None:
            ledger.begin_run(self.slide, run)
        (self.directory / THUMBNAILS).mkdir(parents=True, exist_ok=True)
        self._corrections = {correction.seq: correction for correction in ledger.corrections(self.slide)}
        self._changed: set[int] | None = None  # rows that are newer than the page; not known of an earlier process
        self._project()

    def discover(self, paths: Iterable[bytes]) -> None:
        """Note what is in the folder now: new images, and those that were gone before they could be read."""
        found = list(paths)
        there, known = set(found), self._ledger.images(self.slide).values()
        self.note(found, [image for image in known if image.state in WAITING and image.path not in there])

    def note(self, new: Sequence[bytes], gone: Sequence[Known]) -> None:
        """Note new images, and those that were gone before they could be read."""
        for first in range(0, len(new), DISCOVERIES):
            self._ledger.discover(self.slide, new[first : first + DISCOVERIES])
        if gone:
            self._ledger.forget(image.id for image in gone)
            if any(image.seq for image in gone):
                self._first_of = None  # a row that waited to be superseded stays

    def to_be_done(self) -> list[Known]:
        """Images that are new, were changed since their row was written, or were rejected; by path."""
        images = self._ledger.images(self.slide).values()
        self.see_again([image for image in images if image.state == "rejected" or self.has_changed(image)])
        images = self._ledger.images(self.slide).values()
        return sorted((image for image in images if image.state == "seen"), key=lambda image: image.path)

    def see_again(self, images: Sequence[Known]) -> list[Known]:
        """Have images classified again, and with them each duplicate, still there, of bytes that no row counts then.

        Returns:
            All of these images.
        """
        self._ledger.supersede(image.id for image in images)
        self._first_of = self._read_first_of_each()
        orphans = {
            cell.seq
            for cell in self._ledger.cells(self.slide)
            if cell.status == "duplicate" and cell.sha256 not in self._first_of
        }
        known = self._ledger.images(self.slide).values() if orphans else []
        more = [image for image in known if image.seq in orphans and image.state not in WAITING]
        more = [image for image in more if fingerprint(self._file(image.path))]
        self._ledger.supersede(image.id for image in more)
        return [*images, *more]

    def has_changed(self, image: Known) -> bool:
        """Whether a file is there whose row was written for other bytes."""
        found = None if image.state in (*WAITING, "vanished") else fingerprint(self._file(image.path))
        return found is not None and found != image.fingerprint

    def classify(
        self,
        images: Sequence[Known],
        progress: Callable[[int, int], None] = lambda done, count: None,
        patient: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[Known]:
        """Classify images and write down what became of them, batch by batch.

        Args:
            images: Images of this slide.
            progress: Called with the number of its images that have a row, and of all.
            patient: Whether images that are not whole get another try in place of a row.
            stop: Asked before each batch; what is under way is still written down.

        Returns:
            Images that got no row, because they are not whole yet.

        Raises:
            BackendError: The backend failed.
            OSError: The report cannot be written.
        """
        if images and self._shown != self._run:
            self._ledger.begin_run(self.slide, self._run)
            self._shown = self._run
        by_path = {image.path: image for image in images}
        count = self._ledger.count(self.slide)
        done = count - len(images)
        next_seq = self._ledger.next_seq(self.slide)
        first_of = self._first_of_each(anew=any(image.seq for image in images))
        under_way: set[int] = set()
        postponed: list[Known] = []

        def number(path: bytes) -> int:
            nonlocal next_seq
            if (seq := by_path[path].seq) is None:
                seq, next_seq = next_seq, next_seq + 1
            return seq

        def write_down(answers: Sequence[tuple[Reading, Cell | None]]) -> None:
            nonlocal done
            results = [self._result(by_path[reading.path], reading, cell) for reading, cell in answers if cell]
            waiting = [by_path[reading.path] for reading, cell in answers if not cell]
            self._ledger.report(self.slide, results)
            if waiting:
                self._ledger.postpone(image.id for image in waiting)
            if self._changed is not None:
                self._changed.update(result.cell.seq for result in results)
            self._project()
            postponed.extend(waiting)
            under_way.difference_update(by_path[reading.path].id for reading, _ in answers)
            done += len(results)
            progress(done, count)

        for image in images:
            if image.attempts >= MAX_ATTEMPTS:
                reading = Reading(image.path, fingerprint(self._file(image.path)), QUARANTINED)
                write_down([(reading, rejected(reading, number(image.path)))])
        # What was under way when a process was killed may have killed it: those first, one by one. The least tried go
        # before the others, so that kills which are nobody's doing do not hit the same image each time. Among those,
        # images that have a row go first, in its order: the earlier of two equal ones is the one that counts.
        tried = sorted((image for image in images if 0 < image.attempts < MAX_ATTEMPTS), key=lambda i: i.attempts)
        suspects = [[image] for image in tried]
        others = sorted((image for image in images if not image.attempts), key=lambda i: (i.seq is None, i.seq or 0))
        try:
            for group in [*suspects, others]:
                batches = classify_files(
                    self._root,
                    self._begun(group, under_way, stop),
                    self.directory,
                    self._run.bundle,
                    self._backend,
                    number,
                    first_of,
                    patient,
                )
                with closing(batches):
                    for answers in batches:
                        write_down(answers)
        finally:
            if under_way:
                self._ledger.postpone(under_way)  # this end was not their doing
        return postponed

    def write_summary(self) -> Summary:
        """Write summary and page.

        Raises:
            OSError: They cannot be written; the older ones stay.
        """
        started = time.monotonic()
        summary = write_pages(self._ledger, self.slide, self._shown, self.directory, self._changed)
        self._changed = set()
        self.page_cost = time.monotonic() - started
        return summary

    def _first_of_each(self, anew: bool) -> dict[str | None, str]:
        """Path of the first image with each digest; kept, and read anew where rows may have changed in their place."""
        if anew or self._first_of is None:
            self._first_of = self._read_first_of_each()
        return self._first_of

    def _read_first_of_each(self) -> dict[str | None, str]:
        """As the rows have it that stay: those of images that are to be classified again say nothing of their bytes."""
        passing = self._ledger.passing(self.slide)
        cells = self._ledger.cells(self.slide)
        return {cell.sha256: cell.path for cell in cells if cell.can_be_corrected and cell.seq not in passing}

    def _project(self) -> None:
        moved = project(self._ledger, self.slide, csv_header(self._run.bundle), self.directory / CSV)
        if moved is not None:
            self._tell(f"{self.directory / CSV} was not as it was left: it is now {moved}, and was written again")

    def _begun(self, images: Sequence[Known], under_way: set[int], stop: Callable[[], bool]) -> Iterator[bytes]:
        for first in range(0, len(images), self._backend.batch_size):
            if stop():
                return
            batch = images[first : first + self._backend.batch_size]
            under_way.update(image.id for image in batch)
            self._ledger.begin(image.id for image in batch)
            yield from (image.path for image in batch)

    def _result(self, image: Known, reading: Reading, cell: Cell) -> Result:
        cell = self._as_corrected(cell)
        state = "reported" if cell.label else "quarantined" if reading.error == QUARANTINED else "rejected"
        return Result(image.id, state, reading.fingerprint, cell, csv_line(self._run, cell))

    def _as_corrected(self, cell: Cell) -> Cell:
        """A correction belongs to the bytes that a person looked at: it stays with them, and with no others."""
        made = self._corrections.get(cell.seq)
        if made is None:
            return cell
        if made.sha256 == cell.sha256 and cell.can_be_corrected:
            return replace(
                cell,
                corrected_label=made.to_label,
                corrected_by=made.corrected_by,
                corrected_at=made.corrected_at,
            )
        del self._corrections[cell.seq]
        self._tell(
            f"{self.slide.name}: no. {cell.seq} ({cell.path}) has other bytes than when {made.corrected_by} called it"
            f" {made.to_label}: that no longer counts"
        )
        return cell

    def _file(self, path: bytes) -> bytes:
        return os.path.join(self._root, path)


def _slide(slide_dir: Path, out: Path, ledger: Ledger) -> Slide:
    """The slide in the ledger; a new one gets a folder that is nobody else's."""
    source = os.fsencode(slide_dir.resolve())
    slides = ledger.slides()
    if known := [slide for slide in slides if slide.source == source]:
        return known[0]
    name = slide_name(slide_dir)
    if name in {slide.name for slide in slides}:
        name = f"{name}-{short_digest(slide_dir)}"
    directory = out / name
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise OutputError(f"{directory} exists and is no report of this folder: move it away, or choose another --out")
    return ledger.add_slide(source, name)
