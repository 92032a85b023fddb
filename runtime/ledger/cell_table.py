"""The part of a ledger that is about rows: their columns, and the latest version of each."""

import json
from dataclasses import fields

import msgspec

from .database import Database, Value
from .records import Cell

COLUMNS = [field.name for field in fields(Cell) if field.name != "maps"]
ADD = (
    f"INSERT INTO cells (slide, version, image, run, {', '.join(COLUMNS)})"
    " SELECT ?1, (SELECT coalesce(max(version), 0) + 1 FROM cells WHERE slide = ?1 AND seq = ?2),"
    f" ?3, ?4, {', '.join(f'?{number}' for number in range(5, 5 + len(COLUMNS)))}"
)
SIGNED = [name for name in COLUMNS if name != "analysed_at"]  # a file that is rejected again at each start is no change
_OF_CORRECTIONS = ("corrected_label", "corrected_by", "corrected_at", "comment")
_UNCORRECTED = [name for name in SIGNED if name not in _OF_CORRECTIONS]
COUNT_CHANGE = (
    "UPDATE slides SET changes = changes + 1 WHERE id = ?1 AND NOT EXISTS ("
    "SELECT 1 FROM cells AS made JOIN cells AS old"
    " ON old.slide = made.slide AND old.seq = made.seq AND old.version = made.version - 1"
    " WHERE made.slide = ?1 AND made.seq = ?2"
    " AND made.version = (SELECT max(version) FROM cells WHERE slide = ?1 AND seq = ?2)"
    f" AND ({', '.join(f'made.{name}' for name in _UNCORRECTED)})"
    f" IS ({', '.join(f'old.{name}' for name in _UNCORRECTED)}))"
)
"""Counts the latest version of a row, unless it differs from the one before in its correction and time alone."""

LATEST = "version = (SELECT max(version) FROM cells AS every WHERE every.slide = cells.slide AND every.seq = cells.seq)"


def values_of(cell: Cell) -> list[Value]:
    """Values of a row, in the order of the columns."""
    return [json.dumps(cell.probabilities) if name == "probabilities" else getattr(cell, name) for name in COLUMNS]


def cell_of(values: list[Value]) -> Cell:
    """The row that has these values, in the order of the columns."""
    named = dict(zip(COLUMNS, values, strict=True))
    return msgspec.convert({**named, "probabilities": json.loads(str(named["probabilities"]))}, Cell, strict=False)


def read_last_counted(database: Database, slide: int, cell: Cell) -> Cell | None:
    """The latest version of a row that was counted, of the same bytes; None if there was none."""
    query = (
        f"SELECT {', '.join(COLUMNS)} FROM cells WHERE slide = ? AND seq = ? AND sha256 = ?"
        " AND status IN ('ok', 'review') ORDER BY version DESC LIMIT 1"
    )
    found = database.execute(query, (slide, cell.seq, cell.sha256)).fetchone()
    return None if found is None else cell_of(found)
