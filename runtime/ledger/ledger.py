"""The ledger: one SQLite file that knows every image ever seen and what became of it.

It is the truth; tables, pages and thumbnails are projections that can be made again. Each method that writes is one
transaction, and what it says has happened is on the disk when it returns.

    seen ── queued ──┬── reported       it has a row (ok, review or duplicate)
      │       │      ├── rejected       it has a row with the reason
      │       │      └── quarantined    it has a row: it ended the process several times
      │       └── retry ── queued       it could not be read yet
      └── vanished                      it was gone before it could be read; seen again if it comes back

A file that changes after it was reported is seen again; its new row takes the place of the old one, which stays in the
history.
"""

import errno
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from types import TracebackType

from ..bundle.bundle import Bundle
from ..bundle.manifest import decode_manifest, encode_manifest
from ..errors import OutputError
from ..images.decode import Fingerprint
from ..mounts import file_system, is_network
from .records import Cell, Correction, Run
from .schema import SCHEMA, TABLES, WAITING, Cursor, Known, Result, Slide

_PRESENT = (
    "FROM cells WHERE slide = ? AND seq > ? AND version ="
    " (SELECT max(version) FROM cells AS every WHERE every.slide = cells.slide AND every.seq = cells.seq) ORDER BY seq"
)


class Ledger:
    """An open ledger. One process writes.

    Every method that writes raises OSError where the disk is full (ENOSPC) or fails (EIO); it has then changed nothing.
    """

    def __init__(self, file: Path):
        """Open a ledger, or make a new one; what was under way when the last process ended is waiting again.

        Raises:
            OutputError: It is on a network share, damaged, of another version, or cannot be written.
        """
        kind = file_system(file.parent)
        if is_network(kind):
            raise OutputError(f"{file.parent} is on a network share ({kind}): the ledger needs a disk of this machine")
        try:
            self._database = sqlite3.connect(file, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._prepare(file)
        except sqlite3.Error as error:
            raise OutputError(f"{file} cannot be used ({error}): move it away to begin a new one") from None

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add_slide(self, source: bytes, name: str) -> Slide:
        """The slide of a folder of images, new or known; a known one keeps its name."""
        with self._transaction():
            self._database.execute(
                "INSERT INTO slides (source, name, report) VALUES (?, ?, lower(hex(randomblob(16))))"
                " ON CONFLICT (source) DO NOTHING",
                (source, name),
            )
        return next(slide for slide in self.slides() if slide.source == source)

    def slides(self) -> list[Slide]:
        """All slides, in the order in which they came."""
        rows = self._database.execute("SELECT id, source, name, report FROM slides ORDER BY id")
        return [Slide(*row) for row in rows]

    def images(self, slide: Slide, paths: Iterable[bytes] | None = None) -> dict[bytes, Known]:
        """Images of a slide by path: all of them, or those that are named."""
        query = "SELECT id, path, state, attempts, seq, size, mtime_ns, inode FROM images WHERE slide = ?"
        if paths is None:
            rows = iter(self._database.execute(query, (slide.id,)))
        else:
            rows = (row for path in paths for row in self._database.execute(f"{query} AND path = ?", (slide.id, path)))
        return {
            path: Known(
                number, path, state, attempts, seq, None if size is None else Fingerprint(size, mtime_ns, inode)
            )
            for number, path, state, attempts, seq, size, mtime_ns, inode in rows
        }

    def count(self, slide: Slide) -> int:
        """How many images of a slide there are, without those that vanished before they had a row."""
        query = "SELECT count(*) FROM images WHERE slide = ? AND state != 'vanished'"
        (count,) = self._database.execute(query, (slide.id,)).fetchone()
        return count

    def waiting(self, slide: Slide) -> int:
        """How many images of a slide have no row yet."""
        query = f"SELECT count(*) FROM images WHERE slide = ? AND state IN {WAITING} AND seq IS NULL"
        (count,) = self._database.execute(query, (slide.id,)).fetchone()
        return count

    def passing(self, slide: Slide) -> set[int]:
        """Numbers of the rows of a slide whose image is to be classified again."""
        query = f"SELECT seq FROM images WHERE slide = ? AND state IN {WAITING} AND seq IS NOT NULL"
        return {seq for (seq,) in self._database.execute(query, (slide.id,))}

    def discover(self, slide: Slide, paths: Iterable[bytes]) -> None:
        """Note images that were found; those that are known and not vanished stay as they are."""
        with self._transaction():
            self._database.executemany(
                "INSERT INTO images (slide, path, state) VALUES (?, ?, 'seen') ON CONFLICT (slide, path)"
                " DO UPDATE SET state = 'seen', attempts = 0 WHERE state = 'vanished'",
                ((slide.id, path) for path in paths),
            )

    def begin(self, images: Iterable[int]) -> None:
        """Count one more attempt, before anything touches the images' bytes."""
        self._update("UPDATE images SET state = 'queued', attempts = attempts + 1 WHERE id = ?", images)

    def postpone(self, images: Iterable[int]) -> None:
        """Give images another try later; what could not be read yet has not ended the process."""
        self._update("UPDATE images SET state = 'retry', attempts = 0 WHERE id = ?", images)

    def forget(self, images: Iterable[int]) -> None:
        """Note images as vanished; one that has a row from before keeps it."""
        self._update(
            "UPDATE images SET state = CASE WHEN seq IS NULL THEN 'vanished' ELSE 'reported' END WHERE id = ?", images
        )

    def supersede(self, images: Iterable[int]) -> None:
        """See images again whose file has changed since their row was written."""
        self._update("UPDATE images SET state = 'seen', attempts = 0 WHERE id = ?", images)

    def next_seq(self, slide: Slide) -> int:
        """Number of the next new row."""
        (last,) = self._database.execute("SELECT max(seq) FROM cells WHERE slide = ?", (slide.id,)).fetchone()
        return (last or 0) + 1

    def report(self, slide: Slide, results: Sequence[Result]) -> None:
        """Write down what became of images. A row that has its number already takes the place of the older one."""
        with self._transaction():
            for result in results:
                found, seq = result.fingerprint, result.cell.seq
                self._add_row(slide, result.cell, result.line)
                self._database.execute("DELETE FROM maps WHERE slide = ? AND seq = ?", (slide.id, seq))
                if result.cell.maps:
                    self._database.execute("INSERT INTO maps VALUES (?, ?, ?)", (slide.id, seq, result.cell.maps))
                self._database.execute(
                    "UPDATE images SET state = ?, seq = ?, size = ?, mtime_ns = ?, inode = ? WHERE id = ?",
                    (
                        result.state,
                        seq,
                        *((found.size, found.mtime_ns, found.inode) if found else (None, None, None)),
                        result.image,
                    ),
                )

    def correct(self, slide: Slide, corrections: Iterable[Correction], rows: Iterable[tuple[Cell, str]]) -> None:
        """Write down what people called cells, and the rows, with their lines, that take the older ones' place."""
        with self._transaction():
            self._database.executemany(
                "INSERT INTO corrections (slide, seq, sha256, from_label, to_label, corrected_by, corrected_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((slide.id, *astuple(correction)) for correction in corrections),
            )
            for cell, line in rows:
                self._add_row(slide, cell, line)

    def corrections(self, slide: Slide) -> list[Correction]:
        """Everything that people ever called cells of a slide, the latest last."""
        rows = self._database.execute(
            "SELECT seq, sha256, from_label, to_label, corrected_by, corrected_at FROM corrections"
            " WHERE slide = ? ORDER BY id",
            (slide.id,),
        )
        return [Correction(*row) for row in rows]

    def maps(self, slide: Slide, first: int, last: int) -> dict[int, bytes]:
        """Packed heat maps of a slide's cells by number, for a range of numbers."""
        return dict(
            self._database.execute(
                "SELECT seq, maps FROM maps WHERE slide = ? AND seq BETWEEN ? AND ?", (slide.id, first, last)
            )
        )

    def has_maps(self, slide: Slide) -> bool:
        """Whether the bundle gives heat maps."""
        return self._database.execute("SELECT 1 FROM maps WHERE slide = ? LIMIT 1", (slide.id,)).fetchone() is not None

    def cells(self, slide: Slide) -> Iterator[Cell]:
        """Present rows of a slide, in `seq` order, without their heat maps."""
        for (text,) in self._database.execute(f"SELECT cell {_PRESENT}", (slide.id, 0)):
            values = json.loads(text)
            yield Cell(**{**values, "probabilities": tuple(values["probabilities"])})

    def lines(self, slide: Slide, after: int = 0) -> Iterator[str]:
        """Present rows of a slide behind a number, as lines of its CSV, in `seq` order."""
        for (line,) in self._database.execute(f"SELECT line {_PRESENT}", (slide.id, after)):
            yield line

    def cursor(self, slide: Slide) -> Cursor:
        """How far the slide's CSV has come."""
        row = self._database.execute("SELECT csv_seq, csv_bytes, csv_stale FROM slides WHERE id = ?", (slide.id,))
        seq, size, stale = row.fetchone()
        return Cursor(seq, size, bool(stale))

    def move_cursor(self, slide: Slide, cursor: Cursor) -> None:
        """Note how far the slide's CSV has come; its bytes must be on the disk."""
        with self._transaction():
            self._database.execute(
                "UPDATE slides SET csv_seq = ?, csv_bytes = ?, csv_stale = ? WHERE id = ?",
                (cursor.seq, cursor.size, cursor.stale, slide.id),
            )

    def bind(self, bundle: Bundle) -> None:
        """Note the bundle that all rows are by.

        Raises:
            OutputError: There are rows by another bundle.
        """
        (other,) = self._database.execute("SELECT sha256 FROM bundle").fetchone() or (None,)
        if other is None:
            with self._transaction():
                values = bundle.sha256, encode_manifest(bundle.manifest).decode()
                self._database.execute("INSERT INTO bundle VALUES (?, ?)", values)
        elif other != bundle.sha256:
            raise OutputError(
                "the reports there are by another bundle: add --fresh to begin anew, or choose another --out"
            )

    def bundle(self) -> Bundle | None:
        """The bundle that all rows are by, without its graph; None where there is none yet."""
        found = self._database.execute("SELECT sha256, manifest FROM bundle").fetchone()
        if found is None:
            return None
        manifest = decode_manifest(found[1], "the bundle that the ledger remembers")
        return Bundle(Path(manifest.name), manifest, found[0])

    def begin_run(self, slide: Slide, run: Run) -> None:
        """Note what is the same for all rows that come next."""
        values = {name: value for name, value in vars(run).items() if name != "bundle"}
        with self._transaction():
            self._database.execute("UPDATE slides SET run = ? WHERE id = ?", (json.dumps(values), slide.id))

    def last_run(self, slide: Slide, bundle: Bundle) -> Run | None:
        """The run that was noted last; None where the process ended before there was one."""
        (text,) = self._database.execute("SELECT run FROM slides WHERE id = ?", (slide.id,)).fetchone()
        values = json.loads(text)
        return Run(**values, bundle=bundle) if values else None

    def _prepare(self, file: Path) -> None:
        (health,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise OutputError(f"{file} is damaged ({health}): move it away, and the images are classified again")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._database.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
        elif version != SCHEMA:
            raise OutputError(f"{file} is of another version of cartcls: move it away to begin a new one")
        with self._transaction():
            self._database.execute("UPDATE images SET state = 'seen' WHERE state IN ('queued', 'retry')")

    def _add_row(self, slide: Slide, cell: Cell, line: str) -> None:
        values = {name: value for name, value in vars(cell).items() if name != "maps"}
        self._database.execute(
            "INSERT INTO cells SELECT ?1, ?2, coalesce(max(version), 0) + 1, ?3, ?4 FROM cells"
            " WHERE slide = ?1 AND seq = ?2",
            (slide.id, cell.seq, json.dumps(values), line),
        )
        self._database.execute("UPDATE slides SET csv_stale = 1 WHERE id = ? AND csv_seq >= ?", (slide.id, cell.seq))

    def _update(self, statement: str, images: Iterable[int]) -> None:
        with self._transaction():
            self._database.executemany(statement, ((image,) for image in images))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except BaseException as error:
            if self._database.in_transaction:  # where the disk is full, SQLite may have rolled back already
                self._database.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                number = errno.ENOSPC if "full" in str(error) else errno.EIO
                raise OSError(number, f"{os.strerror(number)} ({error})") from None
            raise
