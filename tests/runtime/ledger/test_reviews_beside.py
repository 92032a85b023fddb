"""Corrections that one process inserts while another one writes rows."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from samples import RUN, TIME, a_cell

from cartcls.runtime.ledger.correction_table import save_corrections
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import TAKEN_BACK, Correction, Result
from cartcls.runtime.ledger.slide_ledger import SlideLedger

FILE = "ledger.sqlite"


def insert(folder: Path, seq: int, to: str, by: str = "Anna", sha256: str = "") -> None:
    """As a station does."""
    with Ledger(folder / FILE, reviews_only=True) as ledger:
        (slide,) = ledger.slides()
        made = Correction(seq, sha256 or f"{seq:064x}", "lymphocyte", to, by, TIME)
        with slide.database.transaction():
            save_corrections(slide.database, slide.slide.id, [made])


def report(slide: SlideLedger, *cells: int, **others: Any) -> None:
    slide.discover([b"%d.jpg" % seq for seq in cells])
    images = slide.images()
    slide.report([Result(images[b"%d.jpg" % seq], "reported", None, [a_cell(seq, **others)]) for seq in cells])


def labels(slide: SlideLedger) -> dict[int, str | None]:
    return {cell.seq: cell.corrected_label for cell in slide.cells()}


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SlideLedger]:
    """The process that writes rows, with two of them."""
    with Ledger(tmp_path / FILE) as ledger:
        slide = ledger.add_slide(b"/captures/s", "s")
        slide.begin_run(RUN)
        report(slide, 1, 2)
        yield slide


def test_they_are_put_into_rows_once(tmp_path: Path, writer: SlideLedger):
    insert(tmp_path, 1, "monocyte")
    assert labels(writer) == {1: None, 2: None}
    assert writer.take_corrections() == {1}
    assert labels(writer) == {1: "monocyte", 2: None}
    assert writer.take_corrections() == set()
    insert(tmp_path, 1, TAKEN_BACK)
    insert(tmp_path, 2, "monocyte")
    insert(tmp_path, 2, "basophil", "Ben")
    assert writer.take_corrections() == {1, 2}
    assert labels(writer) == {1: None, 2: "basophil"}


def test_one_that_was_saved_before_a_kill_is_put_in_after_it(tmp_path: Path, writer: SlideLedger):
    insert(tmp_path, 1, "monocyte")
    with Ledger(tmp_path / FILE) as ledger:  # the next process; it knows nothing of what the last one took
        ledger.take_corrections()
        assert labels(ledger.slides()[0]) == {1: "monocyte", 2: None}
        versions = ledger.database.number("SELECT count(*) FROM cells")
        ledger.take_corrections()
        assert ledger.slides()[0].take_corrections() == set()
        assert ledger.database.number("SELECT count(*) FROM cells") == versions


def test_one_of_other_bytes_or_of_a_cell_that_is_not_counted_stays_out(tmp_path: Path, writer: SlideLedger):
    report(writer, 3, status="duplicate")
    insert(tmp_path, 1, "monocyte", sha256="0" * 64)
    insert(tmp_path, 3, "monocyte")
    insert(tmp_path, 77, "monocyte")
    assert writer.take_corrections() == set()
    assert labels(writer) == {1: None, 2: None, 3: None}


def test_a_row_that_is_written_by_who_does_not_know_of_it_gets_it_too(tmp_path: Path, writer: SlideLedger):
    old = writer.row(1)
    insert(tmp_path, 1, "monocyte")
    writer.rearrange([], [replace(old, path="moved.jpg")])
    assert (writer.row(1).path, writer.row(1).corrected_label) == ("moved.jpg", "monocyte")
    insert(tmp_path, 2, "basophil")
    report(writer, 2)
    assert writer.row(2).corrected_label == "basophil"


def test_who_reviews_sees_them_in_rows_at_once(tmp_path: Path, writer: SlideLedger):
    insert(tmp_path, 1, "monocyte")
    with Ledger(tmp_path / FILE, reviews_only=True) as ledger:
        (slide,) = ledger.slides()
        assert labels(slide) == {1: "monocyte", 2: None}
        found = slide.present(1)
        assert found and found.corrected_label == "monocyte"


@pytest.mark.parametrize(
    "statement",
    [
        *("DELETE FROM corrections", "UPDATE corrections SET to_label = 'x'", "UPDATE slides SET alarm = 'x'"),
        *("INSERT INTO runs (slide) VALUES (1)", "DROP TABLE cells", "CREATE TABLE x (y)", "PRAGMA user_version = 9"),
        *("DELETE FROM cells", "ATTACH 'x' AS y", "REPLACE INTO slides (id) VALUES (1)"),
    ],
)
def test_who_reviews_can_write_nothing_else(tmp_path: Path, writer: SlideLedger, statement: str):
    with (
        Ledger(tmp_path / FILE, reviews_only=True) as ledger,
        pytest.raises(sqlite3.DatabaseError, match=r"not authorized|prohibited"),
    ):
        ledger.database.execute(statement)
