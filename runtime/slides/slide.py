"""Processing of one slide: classifies its images, and keeps its ledger and its report up to date."""

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ..errors import batch_command
from ..files import sweep
from ..images.discover import needs_encoding, readable_name
from ..inference.classifier import Classifier
from ..inference.predictions import Prediction
from ..ledger.ledger import Ledger
from ..ledger.records import FIELDS, WAITING, Cell, LedgerImage, Run
from ..ledger.signatures import last_signature
from ..ledger.typed_facts import last_typed
from ..reports.page import DATA, write_pages
from ..reports.slide_review import review_of
from ..reports.summary import Summary
from ..reports.table import CSV, project
from .agreement import agree, slide_in, with_scale
from .attempts import Attempts
from .counted import Identity, first_of_each, identity, orphans_of
from .given_labels import GivenLabels
from .numbering import Numbering
from .overlaps import Overlaps
from .pipeline import THUMBNAILS, Row, make_cell, result_of, whole_files, with_thumbnails
from .recognize import Recognition
from .slide_info_file import SlideInfoFile

DISCOVERIES = 500
PAGE_FACTOR = 30  # a page is updated after this many times the seconds that its last update took, or later


class SlideWork:
    """Processing of one slide.

    Attributes:
        ledger: Its ledger.
        directory: Folder of its report.
        info: What the laboratory says of it.
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
        go_on: Callable[[str], None] | None = None,
    ):
        """Find or create a slide's report, and repair its table if the last process left it behind the ledger.

        Args:
            slide_dir: Folder of its images.
            out: Folder of all reports.
            run: Description of this run.
            classifier: The model, loaded.
            ledger: Ledger of `out`.
            notify: Called with messages for the user.
            go_on: Called with a warning where the slide has rows that were made otherwise, and goes on as before; it is
                refused where this is None.

        Raises:
            SlideError: The folder of its report is taken, or it has rows that were made otherwise.
            OSError: The report cannot be written.
        """
        self.ledger = slide_in(ledger, slide_dir, out)
        classifier = agree(self.ledger, classifier, slide_dir, out, go_on)
        run = replace(run, slide=self.ledger.slide.name)
        self.directory = out / run.slide
        self.page_cost, self._slide_dir, self._root = 0.0, slide_dir, os.fsencode(slide_dir)
        self._classifier, self._notify = classifier, notify
        self._first_of: dict[Identity, tuple[int, str]] | None = None
        self._overlaps = Overlaps(self.ledger) if classifier.fields else None
        last = self.ledger.last_run()
        self._run = replace(run, started_at=last.started_at) if last else run
        self._shown = last or run  # the run that made the latest rows: this one only once it makes some
        if last is None:
            self.ledger.begin_run(run)
        for name in (THUMBNAILS, FIELDS) if classifier.fields else (THUMBNAILS,):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        sweep(self.directory, *(self.directory / name for name in (THUMBNAILS, FIELDS, DATA)), locked=True)
        self.ledger.take_corrections()
        self.info = SlideInfoFile(slide_dir, self.ledger, notify)
        self._labels, self._told = GivenLabels(self.ledger, notify), (0, 0)
        self._changed: set[int] | None = None  # rows that are newer than the page; None: unknown
        self._paged = ""  # what the slide as a whole said of its cells when the page was written
        self._project()

    def discover(self, paths: Iterable[bytes], unlisted: Collection[bytes] = ()) -> None:
        """Record what is in the folder now: what is new, has changed, moved, or is gone.

        Args:
            paths: All images in it.
            unlisted: Folders in it that cannot be listed: what is in them is not gone.

        Raises:
            SlideError: More than half of the images that have a label are gone; nothing was recorded.
        """
        found = list(paths)
        recognition = Recognition(self.ledger, self._root, self.ledger.images())
        anew = batch_command(self._slide_dir, "--fresh", self.directory.parent)
        gone = recognition.recognize_all(found, unlisted, anew)
        self._save_recognized(recognition)
        waiting = [image for image in self.ledger.images().values() if image.state in WAITING]
        there = set(found)
        self.record([], [image for image in waiting if image.path not in there])
        name = self.ledger.slide.name
        if recognition.moved:
            self._notify(f"{name}: renamed or moved since the last run, with their rows: {recognition.moved}")
        if gone:
            self._notify(f"{name}: gone since the last run, so no longer counted: {gone}")

    def recognize(
        self,
        opened: Sequence[bytes],
        lost: Sequence[LedgerImage],
        known: Mapping[bytes, LedgerImage],
        newly: Sequence[LedgerImage] = (),
        alive: Callable[[], None] = lambda: None,
    ) -> tuple[set[bytes], set[bytes]]:
        """Find out what became of files while the slide is watched.

        Args:
            opened: Files that are new, or may have changed; those that belong to no row are queued.
            lost: Images that have rows, and whose file is not there.
            known: All images by path.
            newly: Those of them that were there at the last look.
            alive: Called after each file that was read.

        Returns:
            Paths whose image has its rows, and paths whose image is another one, or has changed.
        """
        recognition = Recognition(self.ledger, self._root, known)
        recognition.recognize(opened, lost, alive)
        recognition.take_over(newly)
        self._save_recognized(recognition)
        return recognition.settled, recognition.paths

    def take_reviews(self) -> bool:
        """Put what a station has inserted since the last time into rows and table; whether the page is older."""
        told = self._told
        self._told = last_signature(self.ledger), last_typed(self.ledger.database, self.ledger.slide.id)
        if corrected := self.ledger.take_corrections():
            self._labels = GivenLabels(self.ledger, self._notify)
            if self._changed is not None:
                self._changed.update(corrected)
            self._project()
        return bool(corrected) or told != self._told

    def record(self, new: Sequence[bytes], gone: Sequence[LedgerImage]) -> None:
        """Record new images, and those that vanished before they could be read."""
        for first in range(0, len(new), DISCOVERIES):
            self.ledger.discover(new[first : first + DISCOVERIES])
        if gone:
            self.ledger.mark_vanished(gone)
            if any(image.seq for image in gone):
                self._first_of = None  # a row that was to be replaced stays

    def to_be_done(self) -> list[LedgerImage]:
        """Images that are new, were changed since their row was written, or were rejected; by path.

        Duplicates of which no equal image is counted are classified again, too.
        """
        orphans = orphans_of(self.ledger)
        images = self.ledger.images().values()
        self.ledger.requeue([image for image in images if image.state == "rejected" or image.id in orphans])
        images = self.ledger.images().values()
        return sorted((image for image in images if image.state == "seen"), key=lambda image: image.path)

    def classify(
        self,
        images: Sequence[LedgerImage],
        progress: Callable[[int, int], None] = lambda done, count: None,
        patient: bool = False,
        stop: Callable[[], bool] = lambda: False,
        leukocytes: int | None = None,
    ) -> list[LedgerImage]:
        """Classify images and save the results, batch by batch.

        Args:
            images: Images of this slide.
            progress: Called with the number of its images that have a row, and of all.
            patient: Whether incomplete images are retried later in place of getting a row.
            stop: Checked before each batch; batches in progress are still saved.
            leukocytes: It ends with the file in which this many of the slide are found, for a finding this many cells;
                None to classify all.

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
            self._first_of = first_of_each(self.ledger)  # again, as rows may have been replaced
        self._classifier = with_scale(self.ledger, self._classifier, images, self._file, self._notify)
        attempts = Attempts(images, self._root, self.ledger, self._classifier)
        if self._has_enough(leukocytes):
            self._note_stop(leukocytes)
            return []
        numbers, total = Numbering(self.ledger), self.ledger.count()
        done, postponed = total - len(images), []
        try:
            for group in attempts.groups(stop):  # each is saved before the next one starts
                rows = self._rows(group, attempts, numbers, patient)
                with closing(group), closing(with_thumbnails(rows, self.directory, self._classifier.bundle)) as drawn:
                    for batch in whole_files(drawn, one_by_one=leukocytes is not None):
                        if self._has_enough(leukocytes):
                            return postponed
                        waiting = self._save(batch, attempts, numbers)
                        postponed += waiting
                        done += sum(row.prediction.ends_file for row in batch) - len(waiting)
                        progress(done, total)
        finally:
            attempts.postpone()
            self._note_stop(leukocytes)
        return postponed

    def write_summary(self) -> Summary:
        """Write summary and page.

        Raises:
            OSError: They cannot be written; the older ones stay.
        """
        started = time.monotonic()
        self.take_reviews()
        bundle, review = self._classifier.bundle, review_of(self.ledger, self._classifier.bundle).key
        summary = write_pages(
            self.ledger, bundle, self._shown, self.directory, self._changed, every_row=review != self._paged
        )
        self._changed, self._paged = set(), review
        self.page_cost = time.monotonic() - started
        return summary

    def _save_recognized(self, recognition: Recognition) -> None:
        """Save what was recognized, and record the files that belong to no image."""
        recognition.save()
        self.record(recognition.new, [])
        if self._first_of is not None:
            counted = [row for row in recognition.rows.values() if row.can_be_corrected]
            self._first_of.update((identity(row), (row.seq, row.path)) for row in counted)
        if recognition.rows:
            if self._changed is not None:
                self._changed.update(recognition.rows)
            self._project()

    def _rows(
        self, batches: Iterable[list[Prediction]], attempts: Attempts, numbers: Numbering, patient: bool
    ) -> Iterator[list[Row]]:
        """Turn predictions into rows; an image that had a row keeps its number."""
        for batch in batches:
            rows = []
            for prediction in batch:
                retry = patient and prediction.reading.incomplete
                cell = None if retry else self._cell(prediction, attempts.image_of(prediction), numbers)
                rows.append(Row(prediction, cell))
            yield rows

    def _cell(self, prediction: Prediction, image: LedgerImage, numbers: Numbering) -> Cell:
        seq = numbers.number(image, prediction)
        path, first = readable_name(image.path), None
        if prediction.label is not None and self._first_of is not None:
            part = prediction.part
            box = (part.found.x, part.found.y, part.found.w, part.found.h) if part else None
            first = self._first_of.setdefault((prediction.reading.sha256, box), (seq, path))
        return self._labels.applied_to(make_cell(prediction, seq, path, first, needs_encoding(image.path)))

    def _save(self, batch: Sequence[Row], attempts: Attempts, numbers: Numbering) -> list[LedgerImage]:
        """Save the rows of whole files in ledger and table.

        Returns:
            Images that got none.
        """
        results, waiting, others, cells = [], [], list[Cell](), list[Cell]()
        for row in batch:
            image = attempts.image_of(row.prediction)
            if row.cell is None:
                attempts.end(image)
                waiting.append(image)
                continue
            cells.append(row.cell)
            if row.prediction.ends_file:
                attempts.end(image)
                results.append(result_of(image, row.prediction, [*cells, *numbers.withdrawn(image, len(cells))]))
                cells = []
        self._note_deep(batch)
        self.take_reviews()
        if self._overlaps and (search := self._classifier.fields) and search.diameter:
            results, others = self._overlaps.marked(results, search.diameter)
        self.ledger.report(results, others)
        if waiting:
            self.ledger.postpone(waiting)
        if self._changed is not None:
            self._changed.update(cell.seq for result in results for cell in result.cells)
            self._changed.update(cell.seq for cell in others)
        self._project()
        return waiting

    def _has_enough(self, leukocytes: int | None) -> bool:
        """Whether the slide has as many leukocytes (for a finding, cells) as are asked for, and no row to replace."""
        if leukocytes is None or self.ledger.rows_to_be_replaced():
            return False
        bundle = self._classifier.bundle
        every = bundle.report == "finding"
        wanted = {entry.name for entry in bundle.classes if every or entry.kind == "leukocyte"}
        return sum(count for name, count in self.ledger.labels().items() if name in wanted) >= leukocytes

    def _note_stop(self, leukocytes: int | None) -> None:
        """Note whether there were enough leukocytes before all files were looked at."""
        stopped = leukocytes if self._has_enough(leukocytes) and self.ledger.waiting() else None
        facts = self.ledger.facts()
        if facts.leukocytes != stopped:
            self.ledger.settle(replace(facts, leukocytes=stopped))

    def _note_deep(self, batch: Sequence[Row]) -> None:
        """Note that a label is made of a file of more than 8 bits: from now on the slide keeps its levels."""
        if any(row.cell and row.cell.label and row.prediction.reading.deep for row in batch):
            facts = self.ledger.facts()
            if not facts.deep:
                self.ledger.settle(replace(facts, deep=True))

    def _file(self, image: LedgerImage) -> bytes:
        return os.path.join(self._root, image.path)

    def _project(self) -> None:
        moved = project(self.ledger, self._classifier.bundle, self.directory / CSV)
        if moved is not None:
            self._notify(f"{self.directory / CSV} was changed by another program: moved to {moved}, and rewritten")
