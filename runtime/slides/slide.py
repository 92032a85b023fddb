"""One slide at work: what the ledger knows of it, its report, and the way of each image from the one to the other."""

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

from ..errors import OutputError
from ..images.decode import fingerprint
from ..images.discover import needs_encoding, readable_name, short_digest, slide_name
from ..images.reading import Reading
from ..inference.classifier import Classifier
from ..inference.predictions import Prediction, rejected
from ..ledger.ledger import Ledger
from ..ledger.records import MAX_ATTEMPTS, WAITING, Cell, LedgerImage, Result, Run
from ..ledger.slide_ledger import SlideLedger
from ..reports.page import write_pages
from ..reports.summary import Summary
from ..reports.table import CSV, project
from .pipeline import THUMBNAILS, Row, make_cell, with_thumbnails

DISCOVERIES = 500
PAGE_FACTOR = 30  # how much longer than writing a page it takes, at least, until it is written again
QUARANTINED = f"ended the program {MAX_ATTEMPTS} times, and was not opened again"


class SlideWork:
    """One slide at work.

    Attributes:
        ledger: What the ledger knows of it.
        directory: Folder of its report.
        page_cost: How long it took to write its page last, in seconds.
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
        """Find or begin a slide's report, and mend its table where the last process left it behind the ledger.

        Args:
            slide_dir: Folder of its images.
            out: Folder of all reports.
            run: What is the same for all rows that are to come.
            classifier: What classifies them.
            ledger: Ledger of `out`.
            notify: Called with a line on what people should know.

        Raises:
            OutputError: The place of its report is taken.
            OSError: The report cannot be written.
        """
        self.ledger = _slide(slide_dir, out, ledger)
        self.directory = out / self.ledger.slide.name
        self.page_cost = 0.0
        self._root = os.fsencode(slide_dir)
        self._classifier, self._notify = classifier, notify
        self._first_of: dict[str | None, str] | None = None
        noted = self.ledger.last_run()
        self._run = replace(run, started_at=noted.started_at) if noted else run
        self._shown = noted or run  # what the rows are by: this run only once it makes one
        if noted is None:
            self.ledger.begin_run(run)
        (self.directory / THUMBNAILS).mkdir(parents=True, exist_ok=True)
        self._corrections = {correction.seq: correction for correction in self.ledger.corrections()}
        self._changed: set[int] | None = None  # rows that are newer than the page; not known of an earlier process
        self._under_way: dict[int, LedgerImage] = {}
        self._project()

    def discover(self, paths: Iterable[bytes]) -> None:
        """Note what is in the folder now: new images, and those that were gone before they could be read."""
        found = list(paths)
        there, known = set(found), self.ledger.images().values()
        self.note(found, [image for image in known if image.state in WAITING and image.path not in there])

    def note(self, new: Sequence[bytes], gone: Sequence[LedgerImage]) -> None:
        """Note new images, and those that were gone before they could be read."""
        for first in range(0, len(new), DISCOVERIES):
            self.ledger.discover(new[first : first + DISCOVERIES])
        if gone:
            self.ledger.forget(gone)
            if any(image.seq for image in gone):
                self._first_of = None  # a row that waited to be superseded stays

    def to_be_done(self) -> list[LedgerImage]:
        """Images that are new, were changed since their row was written, or were rejected; by path."""
        images = self.ledger.images().values()
        self.see_again([image for image in images if image.state == "rejected" or self.has_changed(image)])
        images = self.ledger.images().values()
        return sorted((image for image in images if image.state == "seen"), key=lambda image: image.path)

    def see_again(self, images: Sequence[LedgerImage]) -> list[LedgerImage]:
        """Have images classified again, and with them each duplicate, still there, of bytes that no row counts then.

        Returns:
            All of these images.
        """
        self.ledger.supersede(images)
        self._first_of = self._read_first_of_each()
        orphans = {
            cell.seq for cell in self.ledger.cells() if cell.status == "duplicate" and cell.sha256 not in self._first_of
        }
        known = self.ledger.images().values() if orphans else []
        more = [image for image in known if image.seq in orphans and image.state not in WAITING]
        more = [image for image in more if fingerprint(self._file(image))]
        self.ledger.supersede(more)
        return [*images, *more]

    def has_changed(self, image: LedgerImage) -> bool:
        """Whether a file is there whose row was written for other bytes."""
        found = None if image.state in (*WAITING, "vanished") else fingerprint(self._file(image))
        return found is not None and found != image.fingerprint

    def classify(
        self,
        images: Sequence[LedgerImage],
        progress: Callable[[int, int], None] = lambda done, count: None,
        patient: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[LedgerImage]:
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
            self.ledger.begin_run(self._run)
            self._shown = self._run
        if self._first_of is None or any(image.seq for image in images):
            self._first_of = self._read_first_of_each()  # anew where rows may have changed in their place
        by_file = {self._file(image): image for image in images}
        numbers, total = count(self.ledger.next_seq()), self.ledger.count()
        done, postponed = total - len(images), []
        try:
            for group in self._groups(images, stop):  # each is written down before the next one is begun
                rows = self._rows(group, by_file, numbers, patient)
                with closing(group), closing(with_thumbnails(rows, self.directory, self._classifier.bundle)) as drawn:
                    for batch in drawn:
                        waiting = self._write_down(batch, by_file)
                        postponed += waiting
                        done += len(batch) - len(waiting)
                        progress(done, total)
        finally:
            if self._under_way:
                self.ledger.postpone(self._under_way.values())  # this end was not their doing
                self._under_way.clear()
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
        """Predictions by groups of images, batch by batch, in the order in which rows are numbered."""
        yield self._quarantined([image for image in images if image.attempts >= MAX_ATTEMPTS])
        for group in _by_attempts(images):
            yield self._classifier.predict_batches(self._begun(group, stop))

    def _quarantined(self, images: Sequence[LedgerImage]) -> Generator[list[Prediction]]:
        if images:
            yield [rejected(file, Reading(fingerprint(file), QUARANTINED)) for file in map(self._file, images)]

    def _begun(self, images: Sequence[LedgerImage], stop: Callable[[], bool]) -> Iterator[bytes]:
        """Files of images, each noted as begun before anything touches it."""
        size = self._classifier.backend.batch_size
        for first in range(0, len(images), size):
            if stop():
                return
            batch = images[first : first + size]
            self._under_way.update((image.id, image) for image in batch)
            self.ledger.begin(batch)
            yield from map(self._file, batch)

    def _rows(
        self,
        batches: Iterable[list[Prediction]],
        by_file: dict[bytes, LedgerImage],
        numbers: Iterator[int],
        patient: bool,
    ) -> Iterator[list[Row]]:
        """Give predictions their rows; an image that had one keeps its number."""
        for batch in batches:
            rows = []
            for prediction in batch:
                again = patient and prediction.reading.incomplete
                cell = None if again else self._cell(prediction, by_file[_path(prediction)], numbers)
                rows.append(Row(prediction, cell))
            yield rows

    def _cell(self, prediction: Prediction, image: LedgerImage, numbers: Iterator[int]) -> Cell:
        seq = next(numbers) if image.seq is None else image.seq
        path = first = readable_name(image.path)
        if prediction.label is not None and self._first_of is not None:
            first = self._first_of.setdefault(prediction.reading.sha256, path)
        return self._as_corrected(make_cell(prediction, seq, path, first, needs_encoding(image.path)))

    def _write_down(self, batch: Sequence[Row], by_file: dict[bytes, LedgerImage]) -> list[LedgerImage]:
        """Write rows into ledger and table.

        Returns:
            Images that got none.
        """
        results, waiting = [], []
        for row in batch:
            image = by_file[_path(row.prediction)]
            self._under_way.pop(image.id, None)
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
        """Path of the first image with each digest, by the rows that stay.

        Those of images that are to be classified again say nothing of their bytes.
        """
        replaced = self.ledger.rows_to_be_replaced()
        cells = self.ledger.cells()
        return {cell.sha256: cell.path for cell in cells if cell.can_be_corrected and cell.seq not in replaced}

    def _project(self) -> None:
        moved = project(self.ledger, self._classifier.bundle, self.directory / CSV)
        if moved is not None:
            self._notify(f"{self.directory / CSV} was not as it was left: it is now {moved}, and was written again")

    def _as_corrected(self, cell: Cell) -> Cell:
        """A correction belongs to the bytes that a person looked at: it stays with them, and with no others."""
        made = self._corrections.get(cell.seq)
        if made is None:
            return cell
        if made.sha256 == cell.sha256 and cell.can_be_corrected:
            return made.applied_to(cell)
        del self._corrections[cell.seq]
        self._notify(
            f"{self.ledger.slide.name}: no. {cell.seq} ({cell.path}) has other bytes than when {made.corrected_by}"
            f" called it {made.to_label}: that no longer counts"
        )
        return cell

    def _file(self, image: LedgerImage) -> bytes:
        return os.path.join(self._root, image.path)


def _by_attempts(images: Sequence[LedgerImage]) -> list[list[LedgerImage]]:
    """Images in the order in which they are tried.

    What was under way when a process was killed may have killed it: those first, one by one. The least tried go before
    the others, so that a kill with another cause does not hit the same image each time. Of the others, images that
    have a row go first, in its order: the earlier of two equal ones is the one that counts.
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
    """The slide in the ledger; a new one gets a folder that is nobody else's."""
    source = os.fsencode(slide_dir.resolve())
    slides = ledger.slides()
    if known := [found for found in slides if found.slide.source == source]:
        return known[0]
    name = slide_name(slide_dir)
    if name in {found.slide.name for found in slides}:
        name = f"{name}-{short_digest(slide_dir)}"
    directory = out / name
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise OutputError(f"{directory} exists and is no report of this folder: move it away, or choose another --out")
    return ledger.add_slide(source, name)
