"""The ledger: one SQLite file with every image ever seen and its result.

It is the source of truth; tables and pages are rebuilt from it. Each method that writes is one transaction, which is on
the disk when the method returns.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from ..bundle.bundle import Bundle
from ..bundle.manifest import decode_manifest, encode_manifest
from ..errors import OutputError
from .database import Database
from .hand_over_table import HandOver, read_hand_overs, save_hand_over
from .records import Slide
from .slide_ledger import SlideLedger


class Ledger:
    """An open ledger: the bundle that made all rows, and a part for each slide. One process writes.

    Every method that writes raises OSError where the disk is full (ENOSPC) or fails (EIO); it has then changed nothing.
    """

    def __init__(self, file: Path, reviews_only: bool = False):
        """Open a ledger, or make a new one; images that the last process left unfinished wait again.

        Args:
            file: Its file.
            reviews_only: Whether it is opened beside the process that writes rows, to insert corrections and
                signatures.

        Raises:
            OutputError: It is on a network share, damaged, of another version, or cannot be written.
        """
        self._database = Database(file, reviews_only)
        if reviews_only:
            return
        with self._database.transaction():
            self._database.execute("UPDATE images SET state = 'seen' WHERE state IN ('queued', 'retry')")

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def take_corrections(self) -> None:
        """Put the corrections that a station has inserted into the rows of all open slides."""
        for slide in self.slides():
            slide.take_corrections()

    def bind(self, bundle: Bundle) -> None:
        """Record the bundle that makes all rows.

        Raises:
            OutputError: There are rows by another bundle.
        """
        recorded = self.bundle()
        if recorded is None:
            with self._database.transaction():
                values = bundle.sha256, encode_manifest(bundle.manifest).decode()
                self._database.execute("INSERT INTO bundle VALUES (?, ?)", values)
        elif recorded.sha256 != bundle.sha256:
            raise OutputError(
                f"the reports there were made by another bundle ({recorded.name} {recorded.sha256[:8]}) than"
                f" {bundle.name} {bundle.sha256[:8]}: name another folder with --out"
            )
        elif recorded.manifest.restricted_to != bundle.manifest.restricted_to:
            made = ",".join(recorded.manifest.restricted_to or ())
            raise OutputError(
                f"the reports there were made {f'with --classes {made}' if made else 'without --classes'}: do so again,"
                " or name another folder with --out"
            )

    def bundle(self) -> Bundle | None:
        """The bundle that made all rows, without its graph; None if there is none yet."""
        found = self._database.execute("SELECT sha256, manifest FROM bundle").fetchone()
        if found is None:
            return None
        manifest = decode_manifest(found[1], "the bundle recorded in the ledger")
        return Bundle(Path(manifest.name), manifest, found[0])

    def add_slide(self, source: bytes, name: str) -> SlideLedger:
        """The slide of a folder of images, new or known; a known one keeps its name."""
        known = self._slides("AND source = ?", source)
        if not known:
            with self._database.transaction():
                values = (source, name, os.urandom(16).hex())
                self._database.execute("INSERT INTO slides (source, name, report) VALUES (?, ?, ?)", values)
            known = self._slides("AND source = ?", source)
        return known[0]

    def slides(self) -> list[SlideLedger]:
        """All open slides, in the order in which they were added."""
        return self._slides()

    def slide(self, number: int) -> SlideLedger | None:
        """The open slide of a number; None where there is none."""
        return next(iter(self._slides("AND id = ?", number)), None)

    @property
    def database(self) -> Database:
        """Where it is."""
        return self._database

    def begin_closing(self, sources: Iterable[bytes]) -> None:
        """Close the slides of folders, so that these can be added anew; their rows and corrections stay."""
        query = "UPDATE slides SET state = 'closing' WHERE state = 'open' AND source = ?"
        self._database.execute_each(query, [(source,) for source in sources])

    def closing(self) -> list[SlideLedger]:
        """Slides whose reports are to be moved aside before they are closed."""
        return self._slides(state="closing")

    def finish_closing(self, slide: Slide) -> None:
        """Close a slide whose report was moved aside."""
        with self._database.transaction():
            self._database.execute("UPDATE slides SET state = 'closed' WHERE id = ?", (slide.id,))

    def hand_overs(self, slide: Slide) -> list[HandOver]:
        """What was handed on of a slide, the latest last."""
        return read_hand_overs(self._database, slide.id)

    def note_hand_over(self, slide: Slide, made: HandOver) -> None:
        """Record that a report of a slide was handed on; another process may be writing its rows."""
        save_hand_over(self._database, slide.id, made)

    def is_closed(self, report: str) -> bool:
        """Whether a report is that of a closed slide."""
        return bool(self._database.number("SELECT count(*) FROM slides WHERE state != 'open' AND report = ?", report))

    def _slides(self, condition: str = "", *values: bytes | int, state: str = "open") -> list[SlideLedger]:
        query = f"SELECT id, source, name, report FROM slides WHERE state = ? {condition} ORDER BY id"
        return [SlideLedger(self._database, Slide(*row)) for row in self._database.execute(query, (state, *values))]
