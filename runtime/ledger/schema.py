"""The tables of a ledger. Some columns are not used yet: with them, the schema changes less often."""

SCHEMA = 8
TABLES = """
CREATE TABLE bundle (sha256 TEXT NOT NULL, manifest TEXT NOT NULL);
CREATE TABLE slides (
    id INTEGER PRIMARY KEY,
    source BLOB NOT NULL,
    name TEXT NOT NULL,
    report TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'open',
    facts TEXT NOT NULL DEFAULT '{}',
    alarm TEXT NOT NULL DEFAULT '',
    changes INTEGER NOT NULL DEFAULT 0,
    csv_seq INTEGER NOT NULL DEFAULT 0,
    csv_bytes INTEGER NOT NULL DEFAULT 0,
    csv_crc INTEGER NOT NULL DEFAULT 0,
    csv_mtime_ns INTEGER NOT NULL DEFAULT 0,
    csv_stale INTEGER NOT NULL DEFAULT 0,
    csv_review TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX open_sources ON slides (source) WHERE state = 'open';
CREATE UNIQUE INDEX open_names ON slides (name) WHERE state = 'open';
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    slide INTEGER NOT NULL REFERENCES slides,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    backend TEXT NOT NULL,
    precision TEXT NOT NULL,
    device TEXT NOT NULL,
    version TEXT NOT NULL,
    started_at TEXT NOT NULL
);
CREATE INDEX runs_of_slide ON runs (slide);
CREATE TABLE images (
    id INTEGER PRIMARY KEY,
    slide INTEGER NOT NULL REFERENCES slides,
    path BLOB NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
    UNIQUE (slide, path)
);
CREATE INDEX waiting ON images (slide, state) WHERE state IN ('seen', 'queued', 'retry');
CREATE TABLE cells (
    slide INTEGER NOT NULL REFERENCES slides,
    seq INTEGER NOT NULL,
    version INTEGER NOT NULL,
    image INTEGER NOT NULL REFERENCES images,
    run INTEGER NOT NULL REFERENCES runs,
    path TEXT NOT NULL,
    path_encoded INTEGER NOT NULL,
    part INTEGER,
    x INTEGER, y INTEGER, w INTEGER, h INTEGER,
    scale REAL, mpp REAL, at_edge INTEGER, same_cell_as INTEGER,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    label TEXT,
    probabilities TEXT NOT NULL,
    distance REAL, stain REAL,
    box_x REAL, box_y REAL, box_w REAL, box_h REAL,
    corrected_label TEXT, corrected_by TEXT, corrected_at TEXT, comment TEXT NOT NULL,
    thumbnail TEXT,
    sha256 TEXT,
    width INTEGER, height INTEGER,
    analysed_at TEXT NOT NULL,
    PRIMARY KEY (slide, seq, version)
) WITHOUT ROWID;
CREATE INDEX cells_of_image ON cells (image);
CREATE INDEX cells_of_bytes ON cells (slide, sha256);
CREATE INDEX same_cells ON cells (slide, same_cell_as) WHERE same_cell_as IS NOT NULL;
CREATE TABLE fields (
    image INTEGER PRIMARY KEY REFERENCES images,
    slide INTEGER NOT NULL REFERENCES slides,
    width INTEGER NOT NULL, height INTEGER NOT NULL,
    smudges TEXT NOT NULL,
    plane BLOB NOT NULL
);
CREATE INDEX fields_of_slide ON fields (slide);
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
    x INTEGER, y INTEGER, w INTEGER, h INTEGER,
    from_label TEXT NOT NULL,
    to_label TEXT NOT NULL,
    comment TEXT,
    in_bulk INTEGER NOT NULL DEFAULT 0,
    corrected_by TEXT NOT NULL,
    corrected_at TEXT NOT NULL
);
CREATE INDEX corrections_of_slide ON corrections (slide, seq);
CREATE TABLE signatures (
    id INTEGER PRIMARY KEY,
    slide INTEGER NOT NULL REFERENCES slides,
    rows_sha256 TEXT NOT NULL,
    signed_by TEXT NOT NULL,
    signed_at TEXT NOT NULL
);
CREATE INDEX signatures_of_slide ON signatures (slide);
CREATE TABLE typed_facts (
    id INTEGER PRIMARY KEY,
    slide INTEGER NOT NULL REFERENCES slides,
    info TEXT NOT NULL,
    typed_by TEXT NOT NULL,
    typed_at TEXT NOT NULL
);
CREATE INDEX typed_facts_of_slide ON typed_facts (slide);
CREATE TABLE hand_overs (
    id INTEGER PRIMARY KEY,
    slide INTEGER NOT NULL REFERENCES slides,
    format TEXT NOT NULL,
    status TEXT NOT NULL,
    signed_sha256 TEXT NOT NULL,
    handed_at TEXT NOT NULL
);
CREATE INDEX hand_overs_of_slide ON hand_overs (slide);
"""
