"""The tables of a ledger."""

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
