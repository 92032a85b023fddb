"""The tables of a ledger, and what is read from them and written to them."""

from dataclasses import dataclass
from typing import Literal

from ..images.decode import Fingerprint
from .records import Cell

SCHEMA = 1
TABLES = """
CREATE TABLE bundle (sha256 TEXT NOT NULL, manifest TEXT NOT NULL);
CREATE TABLE slides (
    id INTEGER PRIMARY KEY,
    source BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    run TEXT NOT NULL DEFAULT '{}',
    csv_seq INTEGER NOT NULL DEFAULT 0,
    csv_bytes INTEGER NOT NULL DEFAULT 0,
    csv_stale INTEGER NOT NULL DEFAULT 0,
    report TEXT NOT NULL
);
CREATE TABLE images (
    id INTEGER PRIMARY KEY,
    slide INTEGER NOT NULL REFERENCES slides,
    path BLOB NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    seq INTEGER,
    size INTEGER, mtime_ns INTEGER, inode INTEGER,
    UNIQUE (slide, path)
);
CREATE INDEX waiting ON images (slide, state) WHERE state IN ('seen', 'queued', 'retry');
CREATE TABLE cells (
    slide INTEGER NOT NULL REFERENCES slides,
    seq INTEGER NOT NULL,
    version INTEGER NOT NULL,
    cell TEXT NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (slide, seq, version)
) WITHOUT ROWID;
CREATE TABLE maps (
    slide INTEGER NOT NULL REFERENCES slides,
    seq INTEGER NOT NULL,
    maps BLOB NOT NULL,
    PRIMARY KEY (slide, seq)
);
CREATE TABLE corrections (
    id INTEGER PRIMARY KEY,
    slide INTEGER NOT NULL REFERENCES slides,
    seq INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    from_label TEXT NOT NULL,
    to_label TEXT NOT NULL,
    corrected_by TEXT NOT NULL,
    corrected_at TEXT NOT NULL
);
CREATE INDEX corrections_of_slide ON corrections (slide, seq);
"""

State = Literal["seen", "queued", "retry", "reported", "rejected", "quarantined", "vanished"]

WAITING: tuple[State, ...] = ("seen", "queued", "retry")
MAX_ATTEMPTS = 5  # kills that are nobody's doing may hit an image twice, hardly ever five times


@dataclass(frozen=True)
class Known:
    """An image that the ledger knows.

    Attributes:
        id: Its number in the ledger.
        path: Bytes, relative to the slide.
        state: See `cartcls.runtime.ledger.ledger`.
        attempts: How often it was begun.
        seq: Its row, once it has one.
        fingerprint: Of the bytes that were reported; None before.
    """

    id: int
    path: bytes
    state: State
    attempts: int
    seq: int | None
    fingerprint: Fingerprint | None


@dataclass(frozen=True)
class Slide:
    """A slide in the ledger.

    Attributes:
        id: Its number in the ledger.
        source: Folder of its images.
        name: Folder of its report, among the reports.
        report: Letters and digits that no other report has.
    """

    id: int
    source: bytes
    name: str
    report: str


@dataclass(frozen=True)
class Result:
    """What became of one image: its state, the bytes it was read from, its row, and that row as a line of the CSV."""

    image: int
    state: Literal["reported", "rejected", "quarantined"]
    fingerprint: Fingerprint | None
    cell: Cell
    line: str


@dataclass(frozen=True)
class Cursor:
    """How far a slide's CSV has come.

    Attributes:
        seq: Last row in it.
        size: Bytes of it that are right.
        stale: Whether a row in it was superseded, so that it must be written anew.
    """

    seq: int
    size: int
    stale: bool
