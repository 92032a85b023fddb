import csv
import json
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from reviewer import classify, corrections, make_slide
from samples import differential_of

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import CorrectionError, OutputError
from cartcls.runtime.ledger.folder import existing_ledger, open_ledger
from cartcls.runtime.ledger.records import Cell
from cartcls.runtime.reports.corrections import correct
from cartcls.runtime.reports.rebuild import rebuild_reports, verify_reports

Row = dict[str, Any]


@pytest.fixture
def folder(slide: Path, tmp_path: Path) -> Path:
    return make_slide(slide, tmp_path / "slide")


@pytest.fixture
def out(folder: Path, bundle: Bundle) -> Path:
    return classify(folder, bundle)


def cells(out: Path) -> dict[int, Cell]:
    with existing_ledger(out) as (ledger, _):
        return {cell.seq: cell for cell in ledger.slides()[0].cells()}


def table(out: Path) -> dict[int, Row]:
    with (out / "slide" / "cells.csv").open(newline="", encoding="utf-8-sig") as file:
        return {int(row["seq"]): row for row in csv.DictReader(file)}


def test_a_cell_counts_by_what_a_person_called_it(out: Path):
    changes = [(1, "monocyte"), (2, "not a cell"), (3, "unsure"), (4, "other: blast"), (5, "eosinophil")]
    done = correct(out, corrections(out, *changes), "Ada B.")
    assert (done.changed, done.confirmed) == (4, 1)
    counts = [{row.name: row.count for row in s.rows} for s in (done.before, done.after)]
    assert [count["eosinophil"] for count in counts] == [8, 5]  # 3 is still counted, as a proposal
    assert counts[1]["monocyte"] == 1
    after = done.after
    assert (after.reviewed, after.relabelled, after.not_a_cell, after.others) == (
        4,  # not the one that the person is unsure about
        3,
        1,
        {"other: blast": 1},
    )
    assert after.reviewers == ["Ada B."]
    assert after.awaiting_review == 1
    without = after.differential_without_proposals
    assert without is not None
    assert (differential_of(after).leukocytes, without.leukocytes) == (6, 5)
    rows = table(out)
    assert [rows[1][name] for name in ("label", "model_label", "status", "corrected_by")] == [
        *("monocyte", "eosinophil", "reviewed", "Ada B."),
    ]
    assert rows[1]["corrected_at"].endswith("Z")
    assert (rows[6]["label"], rows[6]["corrected_by"]) == ("eosinophil", "")
    assert json.loads((out / "slide" / "summary.json").read_text()) == msgspec.json.decode(msgspec.json.encode(after))
    page = (out / "slide" / "report.html").read_text(encoding="utf-8")
    assert "PRELIMINARY: 1 cell awaits review" in page
    assert "other: blast" in page


def test_what_computed_a_row_stays_in_it(out: Path, bundle: Bundle, folder: Path):
    before = table(out)
    with existing_ledger(out) as (ledger, _):  # a later run on another machine
        (slide,) = ledger.slides()
        run = slide.last_run()
        assert run is not None
        slide.begin_run(replace(run, backend="tensorrt", version="9"))
    correct(out, corrections(out, (1, "monocyte")), "Ada")
    changed = {name for name, value in table(out)[1].items() if value != before[1][name]}
    assert changed == {"label", "status", "promise", "corrected_by", "corrected_at"}


def test_reports_stay_verified_and_rebuild_to_the_same_bytes(out: Path):
    correct(out, corrections(out, (1, "monocyte"), (3, "unsure")), "Ada")
    assert not any(slide.differences for slide in verify_reports(out))
    before = {path: path.read_bytes() for path in (out / "slide").rglob("*") if path.is_file()}
    for path in before:
        if path.suffix != ".jpg":
            path.unlink()
    rebuild_reports(out)
    assert {path: path.read_bytes() for path in (out / "slide").rglob("*") if path.is_file()} == before


def test_nothing_is_overwritten(out: Path):
    correct(out, corrections(out, (1, "monocyte")), "Ada")
    correct(out, corrections(out, (1, "platelet")), "Bo")
    with existing_ledger(out) as (ledger, _):
        history = ledger.slides()[0].corrections()
    assert [(c.seq, c.from_label, c.to_label, c.corrected_by) for c in history] == [
        (1, "eosinophil", "monocyte", "Ada"),
        (1, "monocyte", "platelet", "Bo"),
    ]
    assert table(out)[1]["corrected_by"] == "Bo"
    versions = sqlite3.connect(out / "ledger.sqlite").execute("SELECT version FROM cells WHERE seq = 1").fetchall()
    assert versions == [(1,), (2,), (3,)]


@pytest.mark.parametrize(
    ("changes", "others", "message"),
    [
        ([(1, "monocyte"), (99, "monocyte")], {}, "no. 99: there is no such cell"),
        ([(1, "monocyte"), (2, "megakaryocyte")], {}, "'megakaryocyte' is not a label: use basophil"),
        ([(1, "other: ")], {}, "is not a label"),
        ([(1, "other: Neutrophil")], {}, "is an existing label: write neutrophil"),
        ([(1, "other: not a  cell")], {}, "is an existing label: write not a cell"),
        ([(1, "other: \x1b[31m")], {}, "is not a label"),
        ([(1, "monocyte"), (1, "platelet")], {}, "no. 1: it is in the file 2 times"),
        ([(99, "monocyte"), (98, "monocyte")], {}, "no such cell; no. 98: there"),
        ([(1, "monocyte")], {"from": "=cmd"}, "'=cmd' is not a label"),
        ([(1, "monocyte")], {"sha256": "0" * 64}, "its image has changed since"),
        ([(1, "monocyte")], {"seq": "1.5"}, "there is no such cell"),
        ([(1, "monocyte")], {"report": "0" * 32}, "was made for another report"),
        ([(1, "monocyte")], {"bundle_sha256": "0" * 64}, "was made for another report"),
        ([], {}, "has no corrections"),
    ],
)
def test_what_does_not_fit_is_refused_as_a_whole(
    out: Path, changes: list[tuple[int, str]], others: dict[str, str], message: str
):
    file = corrections(out, *changes, **others)
    before = {path: path.read_bytes() for path in (out / "slide").rglob("*") if path.is_file()}
    with pytest.raises(CorrectionError, match=message.replace(".", r"\.")):
        correct(out, file, "Ada")
    assert {path: path.read_bytes() for path in (out / "slide").rglob("*") if path.is_file()} == before
    assert not any(cell.corrected_label for cell in cells(out).values())
    with existing_ledger(out) as (ledger, _):
        assert ledger.slides()[0].corrections() == []


@pytest.mark.parametrize("by", ["", "  ", "=cmd", " =cmd", "a\nb", "x" * 61])
def test_a_name_is_asked_for(out: Path, by: str):
    with pytest.raises(CorrectionError, match="is not a name"):
        correct(out, corrections(out, (1, "monocyte")), by)


@pytest.mark.parametrize(
    "data", [b"", b"seq,to\n1,ig\n", b"\xff\xfe\0", b'report,slide,bundle_sha256,seq,sha256,from,to\n"', b"\0"]
)
def test_what_is_no_file_of_corrections_is_a_clear_error(out: Path, tmp_path: Path, data: bytes):
    (tmp_path / "corrections.csv").write_bytes(data)
    with pytest.raises(CorrectionError, match="save it from the page again"):
        correct(out, tmp_path / "corrections.csv", "Ada")
    with pytest.raises(CorrectionError, match="cannot be read"):
        correct(out, tmp_path / "none.csv", "Ada")


def test_a_spreadsheets_byte_order_mark_does_no_harm(out: Path):
    file = corrections(out, (1, "monocyte"))
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert correct(out, file, "Ada").changed == 1


def as_saved_by(file: Path, delimiter: str, ends: str, quoting: int) -> None:
    """Save a file of corrections again, as spreadsheets do."""
    with file.open(newline="", encoding="utf-8") as handle:
        rows = [*csv.reader(handle), [""] * 7]  # a row was emptied
    with file.open("w", newline="", encoding="utf-8-sig") as handle:
        csv.writer(handle, delimiter=delimiter, lineterminator=ends, quoting=quoting).writerows(rows)  # pyright: ignore


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_file_that_a_spreadsheet_saved_is_read(out: Path, delimiter: str, ends: str, quoting: int):
    file = corrections(out, (1, "monocyte"), (2, 'other: "A", b; c'))
    as_saved_by(file, delimiter, ends, quoting)
    assert correct(out, file, "Ada").changed == 2
    assert [cells(out)[seq].corrected_label for seq in (1, 2)] == ["monocyte", 'other: "A", b; c']


def test_a_file_in_another_encoding_says_how_to_save_it(out: Path):
    file = corrections(out, (1, "other: Zelle ä"))
    file.write_bytes(file.read_text(encoding="utf-8").encode("cp1252"))
    with pytest.raises(CorrectionError, match="CSV UTF-8"):
        correct(out, file, "Ada")


def test_a_file_that_is_applied_twice_changes_nothing(out: Path):
    file = corrections(out, (1, "monocyte"), (2, "eosinophil"), (3, "unsure"), (4, "not a cell"))
    first, again = correct(out, file, "Ada"), correct(out, file, "Bo")
    assert (first.changed, first.confirmed, first.already) == (3, 1, 0)
    assert (again.changed, again.confirmed, again.already) == (0, 0, 4)
    assert again.after == first.after
    assert {cells(out)[seq].corrected_by for seq in (1, 2, 3, 4)} == {"Ada"}
    with existing_ledger(out) as (ledger, _):
        assert len(ledger.slides()[0].corrections()) == 4


def test_a_page_that_was_saved_twice_adds_what_is_new(out: Path):
    file = corrections(out, (1, "monocyte"))
    old = file.read_text(encoding="utf-8")
    more = corrections(out, (1, "monocyte"), (2, "platelet")).read_text(encoding="utf-8")
    file.write_text(old, encoding="utf-8")
    correct(out, file, "Ada")
    file.write_text(more, encoding="utf-8")
    done = correct(out, file, "Ada")
    assert (done.changed, done.already) == (1, 1)


def test_a_second_file_from_an_old_page_is_told_who_was_first(out: Path):
    first, second = corrections(out, (1, "monocyte")).read_bytes(), corrections(out, (1, "platelet"))
    second_bytes = second.read_bytes()
    second.write_bytes(first)
    correct(out, second, "Ada")
    second.write_bytes(second_bytes)
    with pytest.raises(CorrectionError, match=r"edited twice: .* it is monocyte now, by Ada at 2"):
        correct(out, second, "Bo")


def test_a_label_that_the_model_computed_anew_since_does_not_matter(out: Path):
    assert correct(out, corrections(out, (1, "monocyte"), **{"from": "platelet"}), "Ada").changed == 1
    again = corrections(out, (1, "lymphocyte"), **{"from": "platelet"})
    with pytest.raises(CorrectionError, match=r"the file says it was platelet, but it is monocyte now, by Ada at 2"):
        correct(out, again, "Bo")
    assert correct(out, corrections(out, (1, "lymphocyte"), **{"from": "monocyte"}), "Bo").changed == 1


def test_rows_of_cells_that_do_not_count_now_are_left_out_and_named(out: Path, folder: Path, bundle: Bundle):
    changes = [(1, "monocyte"), (2, "monocyte"), (9, "monocyte"), (10, "monocyte")]
    file = corrections(out, *changes)
    (folder / "cell-02.jpg").unlink()
    classify(folder, bundle)
    done = correct(out, file, "Ada")
    assert (done.changed, cells(out)[1].corrected_label, cells(out)[2].corrected_label) == (1, "monocyte", None)
    starts = {2: "it is gone, and not counted: its file", 9: "it is duplicate", 10: "it is rejected"}
    assert all(done.left_out.pop(seq).startswith(start) for seq, start in starts.items())
    assert done.left_out == {}
    file = corrections(out, *changes[1:], (99, "monocyte"))
    with pytest.raises(CorrectionError, match=r"no\. 99: there is no such cell$"):
        correct(out, file, "Ada")


def test_another_run_keeps_corrections_of_the_same_bytes_and_tells_of_those_that_are_lost(
    out: Path, folder: Path, bundle: Bundle
):
    correct(out, corrections(out, (1, "monocyte"), (2, "platelet")), "Ada")
    one, two = folder / "cell-01.jpg", folder / "cell-02.jpg"
    shutil.copy(one, folder.parent / "copy.jpg")
    (folder.parent / "copy.jpg").replace(one)  # another file, the same bytes
    two.write_bytes(two.read_bytes() + b"more")
    told: list[str] = []
    classify(folder, bundle, told)
    now = cells(out)
    assert (now[1].corrected_label, now[1].corrected_by) == ("monocyte", "Ada")
    assert (now[2].label, now[2].corrected_label) == ("eosinophil", None)
    assert told[:1] == [
        "slide: no. 2 (cell-02.jpg) has changed since Ada labelled it platelet: that label no longer counts"
    ]
    assert table(out)[1]["label"] == "monocyte"
    assert not any(slide.differences for slide in verify_reports(out))
    with existing_ledger(out) as (ledger, _):
        assert len(ledger.slides()[0].corrections()) == 2


def test_corrections_outlive_a_report_that_cannot_be_written(out: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    file = corrections(out, (1, "monocyte"))
    with monkeypatch.context() as patch:
        patch.setattr("cartcls.runtime.reports.corrections.write_pages", full)
        with pytest.raises(OutputError, match="the corrections are recorded"):
            correct(out, file, "Ada")
    rebuild_reports(out)
    assert table(out)[1]["label"] == "monocyte"


def test_a_table_that_a_killed_process_wrote_last_is_no_edited_one(out: Path):
    with existing_ledger(out) as (ledger, _):
        (slide,) = ledger.slides()
        slide.move_cursor(replace(slide.cursor(), crc=0, mtime_ns=0))  # as of the table that it replaced
    assert correct(out, corrections(out, (1, "monocyte")), "Ada").moved is None
    assert table(out)[1]["label"] == "monocyte"
    assert [found.differences for found in verify_reports(out)] == [[]]


def test_a_table_that_was_edited_is_kept(out: Path):
    file = out / "slide" / "cells.csv"
    edited = file.read_bytes().replace(b"eosinophil,eosinophil", b"neutrophil,eosinophil")
    file.write_bytes(edited)
    os.utime(file, ns=(1, 1))
    moved = correct(out, corrections(out, (1, "monocyte")), "Ada").moved
    assert moved is not None
    assert moved.read_bytes() == edited


def test_a_ledger_that_cannot_be_written_says_that_nothing_was_applied(out: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    file = corrections(out, (1, "monocyte"))
    monkeypatch.setattr("cartcls.runtime.ledger.slide_ledger.SlideLedger.correct", full)
    with pytest.raises(OutputError, match=r"No space left on device.*nothing in .* was applied"):
        correct(out, file, "Ada")


def test_corrections_of_a_slide_that_was_started_anew_since_are_refused(out: Path, folder: Path, bundle: Bundle):
    file = corrections(out, (1, "monocyte"))
    with open_ledger(out, bundle, [folder]):
        pass
    classify(folder, bundle)
    with pytest.raises(CorrectionError, match=r"older page of slide, .* \(--fresh\): open its present page"):
        correct(out, file, "Ada")
    assert not any(cell.corrected_by for cell in cells(out).values())
