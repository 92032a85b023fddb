"""Processing of one slide: classifies its images, and keeps its ledger and its report up to date."""

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

from ..errors import OutputError
from ..files import sweep
from ..images.decode import fingerprint
from ..images.discover import needs_encoding, readable_name, short_digest, slide_name
from ..images.reading import Reading
from ..inference.classifier import Classifier
from ..inference.predictions import Prediction, rejected
from ..ledger.ledger import Ledger
from ..ledger.records import MAX_ATTEMPTS, WAITING, Cell, LedgerImage, Result, Run
from ..ledger.slide_ledger import SlideLedger
from ..reports.page import DATA, write_pages
from ..reports.summary import Summary
from ..reports.table import CSV, project
from .pipeline import THUMBNAILS, Row, make_cell, with_thumbnails

DISCOVERIES = 500
PAGE_FACTOR = 30  # a page is updated after this many times the seconds that its last update took, or later
QUARANTINED = f"ended the program {MAX_ATTEMPTS} times, and was not opened again"


class SlideWork:
    """Processing of one slide.

    Attributes:
        ledger: Its ledger.
        directory: Folder of its report.
        page_cost: Seconds that the last update of its page took.
    """

    def __init__(
        self,
        slide_dir: Path,
        out: Path,
        run: Run,
        classifier: Classifier,
        ledger: Ledger,
        notify: Callable[[str], None] = lambda line: None,
    ):
        """Find or create a slide's report, and repair its table if the last process left it behind the ledger.

        Args:
            slide_dir: Folder of its images.
            out: Folder of all reports.
            run: Description of this run.
            classifier: The model, loaded.
            ledger: Ledger of `out`.
            notify: Called with messages for the user.

        Raises:
            OutputError: The folder of its report is taken.
            OSError: The report cannot be written.
        """
        self.ledger = _slide(slide_dir, out, ledger)
        self.directory = out / self.ledger.slide.name
        self.page_cost = 0.0
        self._root = os.fsencode(slide_dir)
        self._classifier, self._notify = classifier, notify
        self._first_of: dict[str | None, str] | None = None
        last = self.ledger.last_run()
        self._run = replace(run, started_at=last.started_at) if last else run
        self._shown = last or run  # the run that made the latest rows: this one only once it makes some
        if last is None:
            self.ledger.begin_run(run)
        (self.directory / THUMBNAILS).mkdir(parents=True, exist_ok=True)
        sweep(self.directory, self.directory / THUMBNAILS, self.directory / DATA, locked=True)
        self._corrections = {correction.seq: correction for correction in self.ledger.corrections()}
        self._changed: set[int] | None = None  # rows that are newer than the page; None: unknown
        self._in_progress: dict[int, LedgerImage] = {}
        self._project()

    def discover(self, paths: Iterable[bytes]) -> None:
        """Record what is in the folder now: new images, and those that vanished before they could be read."""
        found = list(paths)
        there, known = set(found), self.ledger.images().values()
        self.record(found, [image for image in known if image.state in WAITING and image.path not in there])

    def record(self, new: Sequence[bytes], gone: Sequence[LedgerImage]) -> None:
        """Record new images, and those that vanished before they could be read."""
        for first in range(0, len(new), DISCOVERIES):
            self.ledger.discover(new[first : first + DISCOVERIES])
        if gone:
            self.ledger.mark_vanished(gone)
            if any(image.seq for image in gone):
                self._first_of = None  # a row that was to be replaced stays

    def to_be_done(self) -> list[LedgerImage]:
        """Images that are new, were changed since their row was written, or were rejected; by path."""
        images = self.ledger.images().values()
        self.requeue([image for image in images if image.state == "rejected" or self.has_changed(image)])
        images = self.ledger.images().values()
        return sorted((image for image in images if image.state == "seen"), key=lambda image: image.path)

    def requeue(self, images: Sequence[LedgerImage]) -> list[LedgerImage]:
        """Queue images to be classified again, with each duplicate whose original is then not counted.

        Returns:
            All of these images.
        """
        self.ledger.requeue(images)
        self._first_of = self._read_first_of_each()
        orphans = {
            cell.seq for cell in self.ledger.cells() if cell.status == "duplicate" and cell.sha256 not in self._first_of
        }
        known = self.ledger.images().values() if orphans else []
        more = [image for image in known if image.seq in orphans and image.state not in WAITING]
        more = [image for image in more if fingerprint(self._file(image))]
        self.ledger.requeue(more)
        return [*images, *more]

    def has_changed(self, image: LedgerImage) -> bool:
        """Whether the file of an image has changed since its row was written."""
        found = None if image.state in (*WAITING, "vanished") else fingerprint(self._file(image))
        return found is not None and found != image.fingerprint

    def classify(
        self,
        images: Sequence[LedgerImage],
        progress: Callable[[int, int], None] = lambda done, count: None,
        patient: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[LedgerImage]:
        """Classify images and save the results, batch by batch.

        Args:
            images: Images of this slide.
            progress: Called with the number of its images that have a row, and of all.
            patient: Whether incomplete images are retried later in place of getting a row.
            stop: Checked before each batch; batches in progress are still saved.

        Returns:
            Images that got no row, because they are incomplete.

        Raises:
            BackendError: The backend failed.
            OSError: The report cannot be written.
        """
        if images and self._shown != self._run:
            self.ledger.begin_run(self._run)
            self._shown = self._run
        if self._first_of is None or any(image.seq for image in images):
            self._first_of = self._read_first_of_each()  # again, as rows may have been replaced
        by_file = {self._file(image): image for image in images}
        numbers, total = count(self.ledger.next_seq()), self.ledger.count()
        done, postponed = total - len(images), []
        try:
            for group in self._groups(images, stop):  # each is saved before the next one starts
                rows = self._rows(group, by_file, numbers, patient)
                with closing(group), closing(with_thumbnails(rows, self.directory, self._classifier.bundle)) as drawn:
                    for batch in drawn:
                        waiting = self._save(batch, by_file)
                        postponed += waiting
                        done += len(batch) - len(waiting)
                        progress(done, total)
        finally:
            if self._in_progress:
                self.ledger.postpone(self._in_progress.values())  # they did not cause this end
                self._in_progress.clear()
        return postponed

    def write_summary(self) -> Summary:
        """Write summary and page.

        Raises:
            OSError: They cannot be written; the older ones stay.
        """
        started = time.monotonic()
        bundle = self._classifier.bundle
        summary = write_pages(self.ledger, bundle, self._shown, self.directory, self._changed)
        self._changed = set()
        self.page_cost = time.monotonic() - started
        return summary

    def _groups(self, images: Sequence[LedgerImage], stop: Callable[[], bool]) -> Iterator[Generator[list[Prediction]]]:
        """Predictions by group of images, batch by batch, in the order in which rows are numbered."""
        yield self._quarantined([image for image in images if image.attempts >= MAX_ATTEMPTS])
        for group in _in_groups(images):
            yield self._classifier.predict_batches(self._begin(group, stop))

    def _quarantined(self, images: Sequence[LedgerImage]) -> Generator[list[Prediction]]:
        if images:
            yield [rejected(file, Reading(fingerprint(file), QUARANTINED)) for file in map(self._file, images)]

    def _begin(self, images: Sequence[LedgerImage], stop: Callable[[], bool]) -> Iterator[bytes]:
        """Files of images; each attempt is counted in the ledger before the file is read."""
        size = self._classifier.backend.batch_size
        for first in range(0, len(images), size):
            if stop():
                return
            batch = images[first : first + size]
            self._in_progress.update((image.id, image) for image in batch)
            self.ledger.begin(batch)
            yield from map(self._file, batch)

    def _rows(
        self,
        batches: Iterable[list[Prediction]],
        by_file: dict[bytes, LedgerImage],
        numbers: Iterator[int],
        patient: bool,
    ) -> Iterator[list[Row]]:
        """Turn predictions into rows; an image that had a row keeps its number."""
        for batch in batches:
            rows = []
            for prediction in batch:
                retry = patient and prediction.reading.incomplete
                cell = None if retry else self._cell(prediction, by_file[_path(prediction)], numbers)
                rows.append(Row(prediction, cell))
            yield rows

    def _cell(self, prediction: Prediction, image: LedgerImage, numbers: Iterator[int]) -> Cell:
        seq = next(numbers) if image.seq is None else image.seq
        path = first = readable_name(image.path)
        if prediction.label is not None and self._first_of is not None:
            first = self._first_of.setdefault(prediction.reading.sha256, path)
        return self._as_corrected(make_cell(prediction, seq, path, first, needs_encoding(image.path)))

    def _save(self, batch: Sequence[Row], by_file: dict[bytes, LedgerImage]) -> list[LedgerImage]:
        """Save rows in ledger and table.

        Returns:
            Images that got none.
        """
        results, waiting = [], []
        for row in batch:
            image = by_file[_path(row.prediction)]
            self._in_progress.pop(image.id, None)
            if row.cell is None:
                waiting.append(image)
            else:
                results.append(_result(image, row.prediction.reading, row.cell))
        self.ledger.report(results)
        if waiting:
            self.ledger.postpone(waiting)
        if self._changed is not None:
            self._changed.update(result.cell.seq for result in results)
        self._project()
        return waiting

    def _read_first_of_each(self) -> dict[str | None, str]:
        """Path of the first image with each digest; rows that are to be replaced do not count."""
        replaced = self.ledger.rows_to_be_replaced()
        cells = self.ledger.cells()
        return {cell.sha256: cell.path for cell in cells if cell.can_be_corrected and cell.seq not in replaced}

    def _project(self) -> None:
        moved = project(self.ledger, self._classifier.bundle, self.directory / CSV)
        if moved is not None:
            self._notify(f"{self.directory / CSV} was changed by another program: moved to {moved}, and rewritten")

    def _as_corrected(self, cell: Cell) -> Cell:
        """Apply the correction of a row, if the image is still the one that the person saw."""
        made = self._corrections.get(cell.seq)
        if made is None:
            return cell
        if made.sha256 == cell.sha256 and cell.can_be_corrected:
            return made.applied_to(cell)
        del self._corrections[cell.seq]
        self._notify(
            f"{self.ledger.slide.name}: no. {cell.seq} ({cell.path}) has changed since {made.corrected_by} labelled it"
            f" {made.to_label}: that label no longer counts"
        )
        return cell

    def _file(self, image: LedgerImage) -> bytes:
        return os.path.join(self._root, image.path)


def _in_groups(images: Sequence[LedgerImage]) -> list[list[LedgerImage]]:
    """Groups of images in the order in which they are tried.

    Images in progress when a process was killed may be the cause: they go first, one by one, least tried first, so that
    a kill with another cause does not hit the same image each time. Of the others, images that have a row go first, in
    its order: the earlier of two equal ones is the one that counts.
    """
    tried = sorted((image for image in images if 0 < image.attempts < MAX_ATTEMPTS), key=lambda i: i.attempts)
    others = sorted((image for image in images if not image.attempts), key=lambda i: (i.seq is None, i.seq or 0))
    return [*([image] for image in tried), others]


def _path(prediction: Prediction) -> bytes:
    assert isinstance(prediction.source, bytes)
    return prediction.source


def _result(image: LedgerImage, reading: Reading, cell: Cell) -> Result:
    state = "reported" if cell.label else "quarantined" if reading.error == QUARANTINED else "rejected"
    return Result(image, state, reading.fingerprint, cell)


def _slide(slide_dir: Path, out: Path, ledger: Ledger) -> SlideLedger:
    """The slide in the ledger; a new one gets a folder of its own."""
    source = os.fsencode(slide_dir.resolve())
    slides = ledger.slides()
    if known := [found for found in slides if found.slide.source == source]:
        return known[0]
    name = slide_name(slide_dir)
    if name in {found.slide.name for found in slides}:
        name = f"{name}-{short_digest(slide_dir)}"
    directory = out / name
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise OutputError(f"{directory} is not a report of this folder: move it away, or choose another --out")
    return ledger.add_slide(source, name)
