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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple

import msgspec

from ..images.decode import Fingerprint
from .cell_table import ADD, COLUMNS, LATEST, cell_of, read_last_counted, values_of
from .correction_table import read_corrections, save_corrections
from .database import Database, Value
from .field_table import count_smudges, read_fields, read_planes, save_field
from .records import WAITING, Cell, Correction, Cursor, Facts, FieldRecord, LedgerImage, Result, Run, Slide

_CURRENT = f"FROM cells WHERE slide = ? AND seq > ? AND {LATEST} ORDER BY seq"
_COUNTED = f"status IN ('ok', 'review') AND {LATEST}"
_ROW_OF_IMAGE = "SELECT min(seq) FROM cells WHERE image = images.id"
_RUN = "name, source, backend, precision, device, version, started_at"


class SlideLedger:
    """The ledger of one slide.

    Attributes:
        slide: The slide.
        looks: How many looks at its cells were taken, by this process, since a row was last replaced.
    """

    def __init__(self, database: Database, slide: Slide):
        self._database, self.slide = database, slide
        self.looks = 0
        self._labels: Counter[str] | None = None

    def images(self, paths: Iterable[bytes] | None = None) -> dict[bytes, LedgerImage]:
        """Images by path: all of them, or only the given ones."""
        if paths is None:
            return {image.path: image for image in self._images("")}
        return {path: image for path in paths for image in self._images("AND path = ?", path)}

    def count(self) -> int:
        """How many images there are, without those that are gone."""
        query = "SELECT count(*) FROM images WHERE slide = ? AND state NOT IN ('vanished', 'gone')"
        return self._database.number(query, self.slide.id)

    def waiting(self) -> int:
        """How many images have no row yet."""
        query = f"SELECT count(*) FROM images WHERE slide = ? AND state IN {WAITING} AND ({_ROW_OF_IMAGE}) IS NULL"
        return self._database.number(query, self.slide.id)

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
        return {seq for (seq,) in self._database.execute(query, (self.slide.id,))}

    def discover(self, paths: Iterable[bytes]) -> None:
        """Add images that were found; known ones stay as they are, unless they had vanished."""
        self._database.execute_each(
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
        with self._database.transaction():
            for image in forgotten:
                self._database.execute("DELETE FROM images WHERE id = ?", (image.id,))
            for image in changed:  # first to a path that no image has
                self._database.execute("UPDATE images SET path = ? WHERE id = ?", (b"/%d" % image.id, image.id))
            for image in changed:
                found = astuple(image.fingerprint) if image.fingerprint else (None,) * 4
                self._database.execute(
                    "UPDATE images SET path = ?, state = ?, size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?"
                    " WHERE id = ?",
                    (image.path, image.state, *found, image.id),
                )
            self._replace_rows(rows)

    def next_seq(self) -> int:
        """Number of the next new row."""
        return self._database.number("SELECT max(seq) FROM cells WHERE slide = ?", self.slide.id) + 1

    def begin_run(self, run: Run) -> None:
        """Record the run that makes the next rows."""
        values = (self.slide.id, *astuple(run))
        with self._database.transaction():
            self._database.execute(f"INSERT INTO runs (slide, {_RUN}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def last_run(self) -> Run | None:
        """The latest run; None if the process ended before there was one."""
        return next(reversed(self._runs().values()), None)

    def report(self, results: Sequence[Result], others: Iterable[Cell] = ()) -> None:
        """Save the results of images, each with all its rows. A row replaces an earlier row of the same number.

        Args:
            results: The results; of two rows of one number, the later one is the newer version.
            others: Rows of other images, that change with them.
        """
        run = self._database.number("SELECT max(id) FROM runs WHERE slide = ?", self.slide.id)
        changed = list(others)
        with self._database.transaction():
            for result in results:
                for cell in result.cells:
                    self._add_row(result.image.id, run, cell)
                    self._database.execute("DELETE FROM maps WHERE slide = ? AND seq = ?", (self.slide.id, cell.seq))
                    if cell.maps:
                        values = self.slide.id, cell.seq, cell.maps
                        self._database.execute("INSERT INTO maps VALUES (?, ?, ?)", values)
                save_field(self._database, self.slide.id, result)
                found = astuple(result.fingerprint) if result.fingerprint else (None,) * 4
                self._database.execute(
                    "UPDATE images SET state = ?, size = ?, mtime_ns = ?, ctime_ns = ?, inode = ? WHERE id = ?",
                    (result.state, *found, result.image.id),
                )
            if changed:
                self._replace_rows(changed)
        if any(result.image.seq is not None for result in results):
            self._forget()
        elif self._labels is not None:
            latest = {cell.seq: cell for result in results for cell in result.cells}
            self._labels.update(cell.label for cell in latest.values() if cell.can_be_corrected and cell.label)

    def labels(self) -> Counter[str]:
        """How many of the cells that can be corrected have each of the model's labels."""
        if self._labels is None:
            query = f"SELECT label, count(*) FROM cells WHERE slide = ? AND {_COUNTED} GROUP BY label"
            self._labels = Counter(dict(self._database.execute(query, (self.slide.id,))))
        return self._labels

    def measured(self, last: int) -> list[tuple[str, float, float]]:
        """Label and distances, of features and of colours, of the last cells that can be corrected, in `seq` order.

        A distance that is not a number, which SQLite keeps as NULL, is infinite.
        """
        query = (
            "SELECT label, ifnull(distance, 9e999), ifnull(stain, 9e999) FROM cells"
            f" WHERE slide = ? AND {_COUNTED} ORDER BY seq DESC LIMIT ?"
        )
        return list(self._database.execute(query, (self.slide.id, last)))[::-1]

    def alarm(self) -> str:
        """What of the slide was found to be unlike the cells that its bundle was calibrated on; empty for nothing."""
        (found,) = self._database.execute("SELECT alarm FROM slides WHERE id = ?", (self.slide.id,)).fetchone()
        return found

    def set_alarm(self, alarm: str) -> None:
        """Record that the slide was found to be unlike them; it stays."""
        with self._database.transaction():
            self._database.execute("UPDATE slides SET alarm = ? WHERE id = ?", (alarm, self.slide.id))

    def facts(self) -> Facts:
        """What was settled for the slide before its first row."""
        (found,) = self._database.execute("SELECT facts FROM slides WHERE id = ?", (self.slide.id,)).fetchone()
        return msgspec.json.decode(found, type=Facts)

    def settle(self, facts: Facts) -> None:
        """Record what is settled for the slide."""
        with self._database.transaction():
            values = msgspec.json.encode(facts).decode(), self.slide.id
            self._database.execute("UPDATE slides SET facts = ? WHERE id = ?", values)

    def has_results(self) -> bool:
        """Whether a row has, or had, a label, or is that of a field with no cell."""
        query = "SELECT EXISTS (SELECT 1 FROM cells WHERE slide = ? AND (label IS NOT NULL OR status = 'empty'))"
        return bool(self._database.number(query, self.slide.id))

    def correct(self, corrections: Sequence[Correction], rows: Iterable[Cell]) -> None:
        """Save corrections, and the corrected rows."""
        with self._database.transaction():
            save_corrections(self._database, self.slide.id, corrections)
            self._replace_rows(rows)

    def corrections(self) -> list[Correction]:
        """All corrections of the slide, the latest last."""
        return read_corrections(self._database, self.slide.id)

    def fields(self) -> dict[int, FieldRecord]:
        """What is kept of the slide's fields, without their planes, by the number of their image, in `seq` order."""
        return read_fields(self._database, self.slide.id)

    def planes(self, last: int) -> dict[int, bytes]:
        """Planes of the last fields by the number of their image, in the order in which their files were found."""
        return read_planes(self._database, self.slide.id, last)

    def smudges(self) -> int:
        """How many smudges the fields have that are there."""
        return count_smudges(self._database, self.slide.id)

    def maps(self, first: int, last: int) -> dict[int, bytes]:
        """Packed heat maps of cells by number, for a range of numbers."""
        query = "SELECT seq, maps FROM maps WHERE slide = ? AND seq BETWEEN ? AND ?"
        return dict(self._database.execute(query, (self.slide.id, first, last)))

    def has_maps(self) -> bool:
        """Whether there are heat maps."""
        return bool(self._database.number("SELECT EXISTS (SELECT 1 FROM maps WHERE slide = ?)", self.slide.id))

    def cells(self) -> Iterator[Cell]:
        """Current rows, in `seq` order, without their heat maps."""
        return (cell for cell, _ in self.rows())

    def rows(self, after: int = 0) -> Iterator[tuple[Cell, Run]]:
        """Current rows after a number, in `seq` order, each with the run that made it."""
        runs = self._runs()
        query = f"SELECT run, {', '.join(COLUMNS)} {_CURRENT}"
        for run, *values in self._database.execute(query, (self.slide.id, after)):
            yield cell_of(values), runs[run]

    def rows_of(self, image: int) -> list[Cell]:
        """Current rows of an image, by its number in the ledger, in `seq` order."""
        return self._rows_where("image = ?", image)

    def row(self, seq: int) -> Cell:
        """The current row of a number."""
        return self._rows_where("slide = ? AND seq = ?", self.slide.id, seq)[0]

    def same_cells_as(self, seqs: Iterable[int]) -> list[Cell]:
        """Current rows of cells that these rows count."""
        condition = "slide = ? AND same_cell_as = ? AND status = 'duplicate'"
        return [row for seq in seqs for row in self._rows_where(condition, self.slide.id, seq, index="same_cells")]

    def same_bytes(self, sha256: str) -> list[tuple[LedgerImage, Cell]]:
        """Current rows of images with these bytes, in `seq` order, each with its image."""
        query = (
            f"SELECT image, {', '.join(COLUMNS)} FROM cells INDEXED BY cells_of_bytes"
            f" WHERE slide = ? AND sha256 = ? AND {LATEST} ORDER BY seq"
        )
        rows = list(self._database.execute(query, (self.slide.id, sha256)))
        return [(image, cell_of(values)) for number, *values in rows for image in self._images("AND id = ?", number)]

    def repeated(self) -> set[int]:
        """Numbers of the images whose bytes a duplicate of another image has, or had once."""
        query = (
            "SELECT image FROM cells WHERE slide = ?1 AND sha256 IN"
            " (SELECT sha256 FROM cells WHERE slide = ?1 AND status = 'duplicate' AND same_cell_as IS NULL)"
        )
        return {image for (image,) in self._database.execute(query, (self.slide.id,))}

    def owners(self) -> dict[int, int]:
        """Number of the image that each row is of, by the number of the row."""
        query = "SELECT seq, image FROM cells WHERE slide = ? AND version = 1"
        return dict(self._database.execute(query, (self.slide.id,)))

    def last_counted(self, cell: Cell) -> Cell | None:
        """The latest version of a row that was counted, of the same bytes; None if there was none."""
        return read_last_counted(self._database, self.slide.id, cell)

    def cursor(self) -> Cursor:
        """How much of the ledger the slide's CSV holds."""
        query = "SELECT csv_seq, csv_bytes, csv_stale, csv_crc, csv_mtime_ns, csv_review FROM slides WHERE id = ?"
        seq, size, stale, crc, mtime_ns, review = self._database.execute(query, (self.slide.id,)).fetchone()
        return Cursor(seq, size, bool(stale), crc, mtime_ns, review)

    def move_cursor(self, cursor: Cursor) -> None:
        """Record how much of the ledger the slide's CSV holds; its bytes must be on the disk."""
        with self._database.transaction():
            self._database.execute(
                "UPDATE slides SET csv_seq = ?, csv_bytes = ?, csv_stale = ?, csv_crc = ?, csv_mtime_ns = ?,"
                " csv_review = ? WHERE id = ?",
                (*astuple(cursor), self.slide.id),
            )

    def _rows_where(self, condition: str, *values: Value, index: str = "") -> list[Cell]:
        """Current rows, by an index where SQLite would take the first column of the primary key for as good."""
        table = f"cells INDEXED BY {index}" if index else "cells"
        query = f"SELECT {', '.join(COLUMNS)} FROM {table} WHERE {condition} AND {LATEST} ORDER BY seq"
        return [cell_of(found) for found in self._database.execute(query, values)]

    def _runs(self) -> dict[int, Run]:
        query = f"SELECT id, {_RUN} FROM runs WHERE slide = ? ORDER BY id"
        return {number: Run(*values) for number, *values in self._database.execute(query, (self.slide.id,))}

    def _images(self, condition: str, *values: Value) -> list[LedgerImage]:
        query = (
            f"SELECT id, path, state, attempts, ({_ROW_OF_IMAGE}), size, mtime_ns, ctime_ns, inode FROM images"
            f" WHERE slide = ? {condition}"
        )
        return [
            LedgerImage(number, path, state, attempts, seq, None if found[0] is None else Fingerprint(*found))
            for number, path, state, attempts, seq, *found in self._database.execute(query, (self.slide.id, *values))
        ]

    def _replace_rows(self, rows: Iterable[Cell]) -> None:
        self._forget()
        query = "SELECT image, run FROM cells WHERE slide = ? AND seq = ? ORDER BY version DESC LIMIT 1"
        for cell in rows:
            image, run = self._database.execute(query, (self.slide.id, cell.seq)).fetchone()
            self._add_row(image, run, cell)

    def _forget(self) -> None:
        """Forget what was counted, and the looks that were taken, since rows of before change."""
        self._labels, self.looks = None, 0

    def _add_row(self, image: int, run: int, cell: Cell) -> None:
        self._database.execute(ADD, (self.slide.id, cell.seq, image, run, *values_of(cell)))
        query = "UPDATE slides SET csv_stale = 1 WHERE id = ? AND csv_seq >= ?"
        self._database.execute(query, (self.slide.id, cell.seq))

    def _update(self, assignment: str, images: Iterable[LedgerImage]) -> None:
        self._database.execute_each(f"UPDATE images SET {assignment} WHERE id = ?", ((image.id,) for image in images))
