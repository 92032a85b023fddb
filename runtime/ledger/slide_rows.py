"""The rows of a slide in a ledger, as they are now."""

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from .cell_table import COLUMNS, LATEST, cell_of, read_last_counted
from .correction_table import fitting, read_corrections
from .database import Database, Value
from .facts import Facts
from .field_table import count_smudges, read_fields, read_planes
from .records import Cell, Correction, FieldRecord, Run, Slide
from .slide_info import SlideInfo
from .typed_facts import TypedFacts, read_typed_facts

COUNTED = f"status IN ('ok', 'review') AND {LATEST}"
RUN = "name, source, backend, precision, device, version, started_at"
_CURRENT = f"FROM cells WHERE slide = ? AND seq > ? AND {LATEST} ORDER BY seq"


class SlideRows:
    """The rows of a slide, as they are now.

    A process that may only insert corrections sees rows with those that are not in them yet.

    Attributes:
        slide: The slide.
        database: Where it is.
    """

    def __init__(self, database: Database, slide: Slide):
        self.database, self.slide = database, slide

    def next_seq(self) -> int:
        """Number of the next new row."""
        return self.database.number("SELECT max(seq) FROM cells WHERE slide = ?", self.slide.id) + 1

    def last_run(self) -> Run | None:
        """The latest run; None if the process ended before there was one."""
        return next(reversed(self._runs().values()), None)

    def measured(self, last: int) -> list[tuple[str, float, float]]:
        """Label and distances, of features and of colours, of the last cells that can be corrected, in `seq` order.

        A distance that is not a number, which SQLite keeps as NULL, is infinite.
        """
        query = (
            "SELECT label, ifnull(distance, 9e999), ifnull(stain, 9e999) FROM cells"
            f" WHERE slide = ? AND {COUNTED} ORDER BY seq DESC LIMIT ?"
        )
        return list(self.database.execute(query, (self.slide.id, last)))[::-1]

    def has_results(self) -> bool:
        """Whether a row has, or had, a label, or is that of a field with no cell."""
        query = "SELECT EXISTS (SELECT 1 FROM cells WHERE slide = ? AND (label IS NOT NULL OR status = 'empty'))"
        return bool(self.database.number(query, self.slide.id))

    def fields(self) -> dict[int, FieldRecord]:
        """What is kept of the slide's fields, without their planes, by the number of their image, in `seq` order."""
        return read_fields(self.database, self.slide.id)

    def planes(self, last: int) -> dict[int, bytes]:
        """Planes of the last fields by the number of their image, in the order in which their files were found."""
        return read_planes(self.database, self.slide.id, last)

    def smudges(self) -> int:
        """How many smudges the fields have that are there."""
        return count_smudges(self.database, self.slide.id)

    def maps(self, first: int, last: int) -> dict[int, bytes]:
        """Packed heat maps of cells by number, for a range of numbers."""
        query = "SELECT seq, maps FROM maps WHERE slide = ? AND seq BETWEEN ? AND ?"
        return dict(self.database.execute(query, (self.slide.id, first, last)))

    def has_maps(self) -> bool:
        """Whether there are heat maps."""
        return bool(self.database.number("SELECT EXISTS (SELECT 1 FROM maps WHERE slide = ?)", self.slide.id))

    def cells(self) -> Iterator[Cell]:
        """Current rows, in `seq` order, without their heat maps."""
        return (cell for cell, _ in self.rows())

    def rows(self, after: int = 0) -> Iterator[tuple[Cell, Run]]:
        """Current rows after a number, in `seq` order, each with the run that made it."""
        runs = self._runs()
        made = fitting(self.corrections()) if self.database.reviews_only else {}
        query = f"SELECT run, {', '.join(COLUMNS)} {_CURRENT}"
        for run, *values in self.database.execute(query, (self.slide.id, after)):
            cell = cell_of(values)
            correction = made.get(cell.picture)
            yield correction.applied_to(cell) if correction and correction.fits(cell) else cell, runs[run]

    def rows_of(self, image: int) -> list[Cell]:
        """Current rows of an image, by its number in the ledger, in `seq` order."""
        return self._rows_where("image = ?", image)

    def row(self, seq: int) -> Cell:
        """The current row of a number."""
        return self._rows_where("slide = ? AND seq = ?", self.slide.id, seq)[0]

    def present(self, seq: int) -> Cell | None:
        """The current row of a number with the last correction that fits it; None where there is none."""
        found = self._rows_where("slide = ? AND seq = ?", self.slide.id, seq)
        if not found:
            return None
        made = fitting(read_corrections(self.database, self.slide.id, seq)).get(found[0].picture)
        return made.applied_to(found[0]) if made and made.fits(found[0]) else found[0]

    def place_of(self, seq: int) -> tuple[Cell, bytes] | None:
        """The current row of a number, and the path of its image; None where there is none."""
        query = "SELECT path FROM images WHERE id = (SELECT image FROM cells WHERE slide = ? AND seq = ? LIMIT 1)"
        found = self.database.execute(query, (self.slide.id, seq)).fetchone()
        return (self.row(seq), found[0]) if found else None

    def last_reviewed(self) -> str | None:
        """When the last correction, signature or typed facts of the slide were made; None where there are none."""
        query = (
            "SELECT max(at) FROM (SELECT max(corrected_at) AS at FROM corrections WHERE slide = ?1"
            " UNION ALL SELECT max(signed_at) FROM signatures WHERE slide = ?1"
            " UNION ALL SELECT max(typed_at) FROM typed_facts WHERE slide = ?1)"
        )
        (found,) = self.database.execute(query, (self.slide.id,)).fetchone()
        return found

    def facts(self) -> Facts:
        """What was settled for the slide before its first row."""
        (found,) = self.database.execute("SELECT facts FROM slides WHERE id = ?", (self.slide.id,)).fetchone()
        return msgspec.json.decode(found, type=Facts)

    def typed(self) -> TypedFacts | None:
        """What a person typed of the slide last; None where nothing was."""
        return read_typed_facts(self.database, self.slide.id)

    def info(self) -> SlideInfo | None:
        """What the laboratory says of the slide: as it was typed last, else in `slide.toml`; None where nothing."""
        if typed := self.typed():
            return typed.info
        return self.facts().info

    def history(self) -> dict[str, int]:
        """Numbers that only grow: what was once changed and is as before again has others.

        Returns:
            `changes`: how often rows, but for corrections and times, or `slide.toml` where it counts have changed;
            `last_correction` and `last_typed`: numbers of the slide's last correction, and of what was typed last.
        """
        query = (
            "SELECT changes, (SELECT ifnull(max(id), 0) FROM corrections WHERE slide = ?1),"
            " (SELECT ifnull(max(id), 0) FROM typed_facts WHERE slide = ?1) FROM slides WHERE id = ?1"
        )
        found = self.database.execute(query, (self.slide.id,)).fetchone()
        return dict(zip(("changes", "last_correction", "last_typed"), found, strict=True))

    def revision(self) -> str:
        """A text that changes with the rows, corrections, signatures, facts, alarm and waiting images of the slide.

        It stays when a correction that was inserted is put into its row.
        """
        query = (
            "SELECT (SELECT count(*) FROM signatures WHERE slide = ?1), alarm, facts,"
            " (SELECT count(*) FROM runs WHERE slide = ?1),"
            " (SELECT count(*) FROM images WHERE slide = ?1),"
            " (SELECT count(*) FROM images WHERE slide = ?1 AND state IN ('seen', 'queued', 'retry'))"
            " FROM slides WHERE id = ?1"
        )
        found = self.history(), self.database.execute(query, (self.slide.id,)).fetchone()
        return hashlib.sha256(repr(found).encode()).hexdigest()[:16]

    def same_cells_as(self, seqs: Iterable[int]) -> list[Cell]:
        """Current rows of cells that these rows count."""
        condition = "slide = ? AND same_cell_as = ? AND status = 'duplicate'"
        return [row for seq in seqs for row in self._rows_where(condition, self.slide.id, seq, index="same_cells")]

    def repeated(self) -> set[int]:
        """Numbers of the images whose bytes a duplicate of another image has, or had once."""
        query = (
            "SELECT image FROM cells WHERE slide = ?1 AND sha256 IN"
            " (SELECT sha256 FROM cells WHERE slide = ?1 AND status = 'duplicate' AND same_cell_as IS NULL)"
        )
        return {image for (image,) in self.database.execute(query, (self.slide.id,))}

    def owners(self) -> dict[int, int]:
        """Number of the image that each row is of, by the number of the row."""
        query = "SELECT seq, image FROM cells WHERE slide = ? AND version = 1"
        return dict(self.database.execute(query, (self.slide.id,)))

    def last_counted(self, cell: Cell) -> Cell | None:
        """The latest version of a row that was counted, of the same bytes; None if there was none."""
        return read_last_counted(self.database, self.slide.id, cell)

    def _rows_where(self, condition: str, *values: Value, index: str = "") -> list[Cell]:
        """Current rows, by an index where SQLite would take the first column of the primary key for as good."""
        table = f"cells INDEXED BY {index}" if index else "cells"
        query = f"SELECT {', '.join(COLUMNS)} FROM {table} WHERE {condition} AND {LATEST} ORDER BY seq"
        return [cell_of(found) for found in self.database.execute(query, values)]

    def _runs(self) -> dict[int, Run]:
        query = f"SELECT id, {RUN} FROM runs WHERE slide = ? ORDER BY id"
        return {number: Run(*values) for number, *values in self.database.execute(query, (self.slide.id,))}

    def corrections(self) -> list[Correction]:
        """All corrections of the slide, the latest last."""
        return read_corrections(self.database, self.slide.id)
