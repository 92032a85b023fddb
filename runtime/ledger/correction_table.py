"""The part of a ledger that is about corrections."""

from collections.abc import Iterable
from dataclasses import astuple

from .database import Database
from .records import Correction

COLUMNS = "seq, sha256, from_label, to_label, corrected_by, corrected_at, x, y, w, h"


def save_corrections(database: Database, slide: int, corrections: Iterable[Correction]) -> None:
    """Save corrections of a slide's cells; within a transaction."""
    for correction in corrections:
        values = (slide, *astuple(correction)[:-1], *(correction.box or (None,) * 4))
        database.execute(f"INSERT INTO corrections (slide, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def read_corrections(database: Database, slide: int) -> list[Correction]:
    """All corrections of a slide, the latest last."""
    rows = database.execute(f"SELECT {COLUMNS} FROM corrections WHERE slide = ? ORDER BY id", (slide,))
    return [
        Correction(seq, sha256, before, now, by, at, None if x is None else (x, y, w, h))
        for seq, sha256, before, now, by, at, x, y, w, h in rows
    ]
