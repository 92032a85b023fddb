"""The part of a ledger that is about corrections."""

from collections.abc import Iterable

from .database import Database
from .records import Correction, Picture

COLUMNS = "seq, sha256, from_label, to_label, corrected_by, corrected_at, comment, in_bulk, x, y, w, h"


def save_corrections(database: Database, slide: int, corrections: Iterable[Correction]) -> None:
    """Save corrections of a slide's cells; within a transaction."""
    for made in corrections:
        values = (slide, made.seq, made.sha256, made.from_label, made.to_label, made.corrected_by, made.corrected_at)
        values = (*values, made.comment or None, int(made.in_bulk), *(made.box or (None,) * 4))
        places = ", ".join("?" * len(values))
        database.execute(f"INSERT INTO corrections (slide, {COLUMNS}) VALUES ({places})", values)


def read_corrections(database: Database, slide: int, seq: int | None = None, after: int = 0) -> list[Correction]:
    """Corrections of a slide, the latest last.

    Args:
        database: Where they are.
        slide: Number of the slide.
        seq: Of this cell only.
        after: Only those that were inserted after the one of this number.
    """
    condition, values = ("AND seq = ?", [seq]) if seq is not None else ("", [])
    query = f"SELECT {COLUMNS} FROM corrections WHERE slide = ? {condition} AND id > ? ORDER BY id"
    return [
        Correction(seq, sha256, before, now, by, at, None if x is None else (x, y, w, h), comment or "", bool(in_bulk))
        for seq, sha256, before, now, by, at, comment, in_bulk, x, y, w, h in database.execute(
            query, (slide, *values, after)
        )
    ]


def correction_numbers(database: Database, slide: int, seq: int) -> list[int]:
    """Numbers of the corrections of a cell, the latest last, after 0 for none."""
    query = "SELECT id FROM corrections WHERE slide = ? AND seq = ? ORDER BY id"
    return [0, *(number for (number,) in database.execute(query, (slide, seq)))]


def last_of_each(database: Database, slide: int) -> dict[int, int]:
    """Number of the last correction of each cell that has one, by the number of the cell."""
    return dict(database.execute("SELECT seq, max(id) FROM corrections WHERE slide = ? GROUP BY seq", (slide,)))


def last_correction(database: Database) -> int:
    """Number of the last correction of all; 0 where there is none."""
    return database.number("SELECT max(id) FROM corrections")


def fitting(corrections: Iterable[Correction]) -> dict[Picture, Correction]:
    """The last one of each picture that a person saw."""
    return {made.picture: made for made in corrections}
