"""The ledger of one slide: its images, their rows, and corrections.

    seen ── queued ──┬── reported       it has its rows (ok, review, duplicate or empty)
      │       │      ├── rejected       it has a row with the reason
      │       │      └── quarantined    it has a row: it ended the process several times
      │       └── retry ── queued       it could not be read yet
      └── vanished                      it was gone before it could be read; seen again if it comes back

An image that has rows and whose file went away is `gone`, and so are they; with the file they come back. Rows follow
their bytes: an image takes another path where they lie there. A file whose bytes change after it was reported is `seen`
again; its new row replaces the old one, which stays in the history.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple

import msgspec

from ..images.decode import Fingerprint
from .cell_table import ADD, COLUMNS, COUNT_CHANGE, LATEST, cell_of, values_of
from .correction_table import fitting, last_correction, read_corrections, save_corrections
from .database import Database, Value
from .facts import Facts
from .field_table import save_field
from .records import WAITING, Cell, Correction, Cursor, LedgerImage, Result, Run, Slide
from .slide_rows import COUNTED, RUN, SlideRows

_ROW_OF_IMAGE = "SELECT min(seq) FROM cells WHERE image = images.id"


class SlideLedger(SlideRows):
    """The ledger of one slide.

    Attributes:
        slide: The slide.
        database: Where it is.
        looks: How many looks at its cells were taken, by this process, since a row was last replaced.
    """

    def __init__(self, database: Database, slide: Slide):
        super().__init__(database, slide)
        self.looks = 0
        self._labels: Counter[str] | None = None
        self._alarm = ""  # that may not be recorded
        self._taken = 0  # the last correction that was looked at

    def images(self, paths: Iterable[bytes] | None = None) -> dict[bytes, LedgerImage]:
        """Images by path: all of them, or only the given ones."""
        if paths is None:
            return {image.path: image for image in self._images("")}
        return {path: image for path in paths for image in self._images("AND path = ?", path)}

    def count(self) -> int:
        """How many images there are, without those that are gone."""
        query = "SELECT count(*) FROM images WHERE slide = ? AND state NOT IN ('vanished', 'gone')"
        return self.database.number(query, self.slide.id)

    def waiting(self) -> int:
        """How many images have no row yet."""
        query = f"SELECT count(*) FROM images WHERE slide = ? AND state IN {WAITING} AND ({_ROW_OF_IMAGE}) IS NULL"
        return self.database.number(query, self.slide.id)

    def unlooked(self) -> list[int]:
        """Places of the images that have no row yet among all that are there, in path order, from 1."""
        there = sorted(self._images("AND state NOT IN ('vanished', 'gone')"), key=lambda image: image.path)
        return [place for place, image in enumerate(there, 1) if image.seq is None and image.state in WAITING]

    def rows_to_be_replaced(self) -> set[int]:
        """Numbers of the rows whose image is to be classified again."""
        query = (
            "SELECT DISTINCT seq FROM cells JOIN images ON cells.image = images.id"
            f" WHERE images.slide = ? AND state IN {WAITING}"
        )
        return {seq for (seq,) in self.database.execute(query, (self.slide.id,))}

    def discover(self, paths: Iterable[bytes]) -> None:
        """Add images that were found; known ones stay as they are, unless they had vanished."""
        self.database.execute_each(
            "INSERT INTO images (slide, path, state) VALUES (?, ?, 'seen') ON CONFLICT (slide, path)"
            " DO UPDATE SET state = 'seen', attempts = 0 WHERE state = 'vanished'",
            ((self.slide.id, path) for path in paths),
        )

    def begin(self, images: Iterable[LedgerImage]) -> None:
        """Count one more attempt, before the images are read."""
        self._update("state = 'queued', attempts = attempts + 1", images)

    def postpone(self, images: Iterable[LedgerImage]) -> None:
        """Retry images later; no attempt is counted, because they did not end the process."""
        self._update("state = 'retry', attempts = 0", images)

    def take_back(self, images: Iterable[LedgerImage]) -> None:
        """Take back the last attempt that was counted: it did not end the process, and those before still count."""
        self._update("state = 'seen', attempts = attempts - 1", images)

    def mark_vanished(self, images: Iterable[LedgerImage]) -> None:
        """Mark images as vanished; one that already has a row keeps it."""
        self._update(f"state = CASE WHEN ({_ROW_OF_IMAGE}) IS NULL THEN 'vanished' ELSE 'reported' END", images)

    def requeue(self, images: Iterable[LedgerImage]) -> None:
        """Mark images to be classified again, because their file has changed."""
        self._update("state = 'seen', attempts = 0", images)

    def rearrange(
        self, images: Iterable[LedgerImage], rows: Iterable[Cell], forgotten: Iterable[LedgerImage] = ()
    ) -> None:
        """Save new paths, states and fingerprints of images, and the rows that change with them.

        Args:
            images: As they are from now on; they may exchange paths.
            rows: Likewise; each keeps its image and its run.
            forgotten: Images without a row, whose path another one takes.
        """
        changed = list(images)
        with self.database.transaction():
            for image in forgotten:
                self.database.execute("DELETE FROM images WHERE id = ?", (image.id,))
            for image in changed:  # first to a path that no image has
                self.database.execute("UPDATE images SET path = ? WHERE id = ?", (b"/%d" % image.id, image.id))
            for image in changed:
                found = astuple(image.fingerprint) if image.fingerprint else (None,) * 4
                self.database.execute(
                    "UPDATE images SET path = ?, state = ?, size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?"
                    " WHERE id = ?",
                    (image.path, image.state, *found, image.id),
                )
            changed_rows = list(rows)
            self._replace_rows(changed_rows)
            self._correct_again(row.seq for row in changed_rows)

    def begin_run(self, run: Run) -> None:
        """Record the run that makes the next rows."""
        values = (self.slide.id, *astuple(run))
        with self.database.transaction():
            self.database.execute(f"INSERT INTO runs (slide, {RUN}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def report(self, results: Sequence[Result], others: Iterable[Cell] = ()) -> None:
        """Save the results of images, each with all its rows. A row replaces an earlier row of the same number.

        Args:
            results: The results; of two rows of one number, the later one is the newer version.
            others: Rows of other images, that change with them.
        """
        run = self.database.number("SELECT max(id) FROM runs WHERE slide = ?", self.slide.id)
        changed = list(others)
        with self.database.transaction():
            for result in results:
                for cell in result.cells:
                    self._add_row(result.image.id, run, cell)
                    self.database.execute("DELETE FROM maps WHERE slide = ? AND seq = ?", (self.slide.id, cell.seq))
                    if cell.maps:
                        values = self.slide.id, cell.seq, cell.maps
                        self.database.execute("INSERT INTO maps VALUES (?, ?, ?)", values)
                save_field(self.database, self.slide.id, result)
                found = astuple(result.fingerprint) if result.fingerprint else (None,) * 4
                self.database.execute(
                    "UPDATE images SET state = ?, size = ?, mtime_ns = ?, ctime_ns = ?, inode = ? WHERE id = ?",
                    (result.state, *found, result.image.id),
                )
            if changed:
                self._replace_rows(changed)
            self._correct_again(
                cell.seq for cells in (*(result.cells for result in results), changed) for cell in cells
            )
        if any(result.image.seq is not None for result in results):
            self._forget()
        elif self._labels is not None:
            latest = {cell.seq: cell for result in results for cell in result.cells}
            self._labels.update(cell.label for cell in latest.values() if cell.can_be_corrected and cell.label)

    def labels(self) -> Counter[str]:
        """How many of the cells that can be corrected have each of the model's labels."""
        if self._labels is None:
            query = f"SELECT label, count(*) FROM cells WHERE slide = ? AND {COUNTED} GROUP BY label"
            self._labels = Counter(dict(self.database.execute(query, (self.slide.id,))))
        return self._labels

    def alarm(self) -> str:
        """What of the slide was found to be unlike the cells that its bundle was calibrated on; empty for nothing."""
        (found,) = self.database.execute("SELECT alarm FROM slides WHERE id = ?", (self.slide.id,)).fetchone()
        return found or self._alarm

    def set_alarm(self, alarm: str) -> None:
        """Record that the slide was found to be unlike them; it stays. Where only reviews may be written, note it."""
        if self.database.reviews_only:
            self._alarm = alarm
            return
        with self.database.transaction():
            self.database.execute("UPDATE slides SET alarm = ? WHERE id = ?", (alarm, self.slide.id))

    def settle(self, facts: Facts) -> None:
        """Record what is settled for the slide."""
        with self.database.transaction():
            before = self.info()
            values = msgspec.json.encode(facts).decode(), self.slide.id
            self.database.execute("UPDATE slides SET facts = ? WHERE id = ?", values)
            if self.info() != before:
                self.database.execute("UPDATE slides SET changes = changes + 1 WHERE id = ?", (self.slide.id,))

    def correct(self, corrections: Sequence[Correction], rows: Iterable[Cell]) -> None:
        """Save corrections, and the corrected rows."""
        with self.database.transaction():
            save_corrections(self.database, self.slide.id, corrections)
            self._replace_rows(rows)

    def take_corrections(self) -> set[int]:
        """Put corrections into the rows that another process has inserted since the last time.

        Returns:
            Numbers of the rows that changed.
        """
        last = last_correction(self.database)
        if last == self._taken:
            return set()
        made = read_corrections(self.database, self.slide.id, after=self._taken)
        changed = set[int]()
        if made:
            with self.database.transaction():
                changed = self._put_into_rows(made)
        self._taken = last
        return changed

    def same_bytes(self, sha256: str) -> list[tuple[LedgerImage, Cell]]:
        """Current rows of images with these bytes, in `seq` order, each with its image."""
        query = (
            f"SELECT image, {', '.join(COLUMNS)} FROM cells INDEXED BY cells_of_bytes"
            f" WHERE slide = ? AND sha256 = ? AND {LATEST} ORDER BY seq"
        )
        rows = list(self.database.execute(query, (self.slide.id, sha256)))
        return [(image, cell_of(values)) for number, *values in rows for image in self._images("AND id = ?", number)]

    def cursor(self) -> Cursor:
        """How much of the ledger the slide's CSV holds."""
        query = "SELECT csv_seq, csv_bytes, csv_stale, csv_crc, csv_mtime_ns, csv_review FROM slides WHERE id = ?"
        seq, size, stale, crc, mtime_ns, review = self.database.execute(query, (self.slide.id,)).fetchone()
        return Cursor(seq, size, bool(stale), crc, mtime_ns, review)

    def move_cursor(self, cursor: Cursor) -> None:
        """Record how much of the ledger the slide's CSV holds; its bytes must be on the disk."""
        with self.database.transaction():
            self.database.execute(
                "UPDATE slides SET csv_seq = ?, csv_bytes = ?, csv_stale = ?, csv_crc = ?, csv_mtime_ns = ?,"
                " csv_review = ? WHERE id = ?",
                (*astuple(cursor), self.slide.id),
            )

    def _images(self, condition: str, *values: Value) -> list[LedgerImage]:
        query = (
            f"SELECT id, path, state, attempts, ({_ROW_OF_IMAGE}), size, mtime_ns, ctime_ns, inode FROM images"
            f" WHERE slide = ? {condition}"
        )
        return [
            LedgerImage(number, path, state, attempts, seq, None if found[0] is None else Fingerprint(*found))
            for number, path, state, attempts, seq, *found in self.database.execute(query, (self.slide.id, *values))
        ]

    def _replace_rows(self, rows: Iterable[Cell]) -> None:
        self._forget()
        query = "SELECT image, run FROM cells WHERE slide = ? AND seq = ? ORDER BY version DESC LIMIT 1"
        for cell in rows:
            image, run = self.database.execute(query, (self.slide.id, cell.seq)).fetchone()
            self._add_row(image, run, cell)

    def _correct_again(self, seqs: Iterable[int]) -> None:
        """Put all corrections into rows that were just written: whoever made these may not know the latest."""
        if last_correction(self.database):
            numbers = dict.fromkeys(seqs)
            self._put_into_rows(
                [made for seq in numbers for made in read_corrections(self.database, self.slide.id, seq)]
            )

    def _put_into_rows(self, corrections: Iterable[Correction]) -> set[int]:
        changed = set[int]()
        for made in fitting(corrections).values():
            query = (
                f"SELECT image, run, {', '.join(COLUMNS)} FROM cells"
                " WHERE slide = ? AND seq = ? ORDER BY version DESC LIMIT 1"
            )
            found = self.database.execute(query, (self.slide.id, made.seq)).fetchone()
            cell = cell_of(found[2:]) if found else None
            if cell and made.fits(cell) and made.applied_to(cell) != cell:
                self._add_row(found[0], found[1], made.applied_to(cell))
                changed.add(made.seq)
        return changed

    def _forget(self) -> None:
        """Forget what was counted, and the looks that were taken, since rows of before change."""
        self._labels, self.looks = None, 0

    def _add_row(self, image: int, run: int, cell: Cell) -> None:
        self.database.execute(ADD, (self.slide.id, cell.seq, image, run, *values_of(cell)))
        self.database.execute(COUNT_CHANGE, (self.slide.id, cell.seq))
        query = "UPDATE slides SET csv_stale = 1 WHERE id = ? AND csv_seq >= ?"
        self.database.execute(query, (self.slide.id, cell.seq))

    def _update(self, assignment: str, images: Iterable[LedgerImage]) -> None:
        self.database.execute_each(f"UPDATE images SET {assignment} WHERE id = ?", ((image.id,) for image in images))
