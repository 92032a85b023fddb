import csv
import os
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import giving
from samples import RUN, TIME, a_cell, begun_slide

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.records import Cell, Result
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.reports import table
from cartcls.runtime.reports.table import BOX, Difference, csv_header, csv_line, project, rebuild, verify, write_csv

COLUMNS = [
    *("seq", "slide", "path", "path_encoded", "part", "x", "y", "w", "h", "scale", "mpp", "at_edge"),
    *("label", "model_label", "confidence", "status", "reason"),
    *("promise", "p_basophil", "p_eosinophil", "p_erythroblast", "p_ig", "p_lymphocyte", "p_monocyte", "p_neutrophil"),
    *("p_platelet", "corrected_by", "corrected_at", "comment", "thumbnail", "sha256", "width"),
    *("height", "bundle", "bundle_sha256", "backend", "precision", "version", "analysed_at"),
]


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[SlideLedger]:
    with begun_slide(tmp_path) as slide:
        yield slide


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cells.csv"


def test_a_cell_of_a_field_has_its_place(file: Path, bundle: Bundle):
    inside = a_cell(1, part=3, x=10, y=20, w=30, h=40, scale=1.23456, mpp=0.1, at_edge=False)
    names = ("part", "x", "y", "w", "h", "scale", "mpp", "at_edge")
    first, second, third = written(bundle, file, inside, replace(inside, seq=2, at_edge=True), a_cell(3))
    assert [first[name] for name in names] == ["3", "10", "20", "30", "40", "1.2346", "0.1000", "0"]
    assert second["at_edge"] == "1"
    assert {third[name] for name in names} == {""}


def test_boxes_are_written_where_the_bundle_gives_them_and_come_back_from_a_ledger(
    slide: SlideLedger, file: Path, bundle: Bundle
):
    cell = a_cell(1, box_x=10, box_y=0, box_w=30, box_h=40)
    (without,) = written(bundle, file, cell)
    assert list(without) == COLUMNS
    finder = giving(bundle, "boxes")
    first, second = written(finder, file, cell, a_cell(2))
    place = COLUMNS.index("corrected_by")
    assert list(first) == [*COLUMNS[:place], *BOX, *COLUMNS[place:]]
    assert [first[name] for name in BOX] == ["10", "0", "30", "40"]
    assert {second[name] for name in BOX} == {""}
    assert first["corrected_by"] == "" and first["width"] == without["width"]
    direct = file.read_bytes()
    slide.discover([b"1", b"2"])
    images = slide.images()
    slide.report([Result(images[b"%d" % row.seq], "reported", None, [row]) for row in (cell, a_cell(2))])
    assert [row.box_found for row in slide.cells()] == [(10, 0, 30, 40), None]
    rebuild(slide, finder, file)
    assert file.read_bytes() == direct
    assert verify(slide, finder, file) == []
    file.write_bytes(direct.replace(b",10,0,30,40,", b",11,0,30,40,"))
    assert [difference.line for difference in verify(slide, finder, file)] == [2]


def add(slide: SlideLedger, *labels: str, seq: int | None = None) -> None:
    """Report new cells, or one again."""
    for label in labels:
        number = seq or slide.next_seq()
        slide.discover([b"%d" % number])
        slide.report([Result(slide.images()[b"%d" % number], "reported", None, [a_cell(number, label)])])


def rows(bundle: Bundle, *labels: str) -> str:
    """Lines of cells, numbered from 1."""
    return "".join(csv_line(bundle, RUN, a_cell(seq, label)) for seq, label in enumerate(labels, 1))


def text(bundle: Bundle, *labels: str) -> str:
    """A whole table."""
    return "\ufeff" + csv_header(bundle) + rows(bundle, *labels)


def written(bundle: Bundle, file: Path, *cells: Cell) -> list[dict[str, str]]:
    write_csv(file, bundle, RUN, cells)
    with file.open(newline="", encoding="utf-8-sig") as handle:
        return list(csv.DictReader(handle))


def test_the_table_has_the_promised_columns(file: Path, bundle: Bundle):
    found = written(bundle, file, a_cell(1, "platelet"), Cell(2, "b.jpg", "rejected", "is empty (0 bytes)", TIME))
    assert list(found[0]) == COLUMNS
    assert (found[0]["label"], found[0]["model_label"], found[0]["status"]) == ("platelet", "platelet", "ok")
    assert found[0]["p_platelet"] == found[0]["confidence"] == "0.930000"
    assert (found[0]["bundle_sha256"], found[0]["path_encoded"]) == (bundle.sha256, "0")
    assert (found[1]["label"], found[1]["p_basophil"], found[1]["reason"]) == ("", "", "is empty (0 bytes)")


def test_a_comment_is_written_and_starts_no_formula(file: Path, bundle: Bundle):
    comments = ("3 lobes, 50 % large", '=HYPERLINK("x")', "- or a blast", "")
    found = written(bundle, file, *(a_cell(1, comment=text) for text in comments))
    assert [row["comment"] for row in found] == [comments[0], '%3DHYPERLINK("x")', "%2D or a blast", ""]


def test_a_corrected_row_says_what_counts_and_what_the_model_said(file: Path, bundle: Bundle):
    cell = replace(a_cell(1, "platelet"), status="review", reason="out of focus", corrected_by="Ada")
    labels = ("monocyte", "platelet", "not a cell", "other: blast", "unsure")
    found = written(bundle, file, *(replace(cell, corrected_label=label) for label in labels))
    assert {row["model_label"] for row in found} == {"platelet"}
    assert [row["label"] for row in found] == ["monocyte", "platelet", "not a cell", "other: blast", "platelet"]
    assert [row["status"] for row in found] == ["reviewed"] * 4 + ["review"]
    assert found[-1]["reason"] == "out of focus; a person was unsure"


def test_rows_are_appended_as_they_come(slide: SlideLedger, bundle: Bundle, file: Path):
    project(slide, bundle, file)
    assert file.read_text("utf-8") == text(bundle)
    add(slide, "ig", "monocyte")
    inode = file.stat().st_ino
    project(slide, bundle, file)
    add(slide, "ü")
    project(slide, bundle, file)
    project(slide, bundle, file)
    assert file.read_text("utf-8") == text(bundle, "ig", "monocyte", "ü")
    assert file.stat().st_ino == inode


@pytest.mark.parametrize("kept", [0, 1, 5, 80, 81, 200, -2, -1, None])
def test_what_a_killed_process_had_appended_is_kept(slide: SlideLedger, bundle: Bundle, file: Path, kept: int | None):
    project(slide, bundle, file)
    add(slide, "ig", "monocyte")
    with file.open("a", encoding="utf-8") as handle:
        handle.write(rows(bundle, "ig", "monocyte")[:kept])
    assert project(slide, bundle, file) is None
    assert file.read_text("utf-8") == text(bundle, "ig", "monocyte")
    assert not verify(slide, bundle, file)


@pytest.mark.parametrize("spoil", [("ig", "ig"), ("platelet",), ("ig", "monocyte", "more"), "\0\0\0\0"])
def test_a_tail_that_is_not_ours_is_moved_aside(
    slide: SlideLedger, bundle: Bundle, file: Path, spoil: str | tuple[str, ...]
):
    tail = spoil if isinstance(spoil, str) else rows(bundle, *spoil)
    project(slide, bundle, file)
    add(slide, "ig", "monocyte")
    with file.open("a", encoding="utf-8") as handle:
        handle.write(tail)
    moved = project(slide, bundle, file)
    assert moved is not None
    assert moved.read_text("utf-8") == text(bundle) + tail
    assert file.read_text("utf-8") == text(bundle, "ig", "monocyte")


def test_a_shortened_or_foreign_file_is_moved_aside_and_a_missing_one_made(
    slide: SlideLedger, bundle: Bundle, file: Path
):
    add(slide, "ig", "monocyte")
    file.write_text("not ours\n")
    assert project(slide, bundle, file) is not None
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    assert project(slide, bundle, file) is not None
    assert file.read_bytes() == whole
    file.unlink()
    project(slide, bundle, file)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("then", ["nothing", "a new row", "a replaced row", "a new row, and a kill"])
def test_an_edit_that_keeps_the_length_is_moved_aside_and_a_kill_is_no_edit(
    slide: SlideLedger, bundle: Bundle, file: Path, then: str
):
    def go_on() -> None:
        if then != "nothing":
            add(slide, "platelet", seq=1 if "replaced" in then else None)
        if "kill" in then:
            file.write_bytes(
                file.read_bytes() + csv_line(bundle, RUN, a_cell(slide.next_seq() - 1, "platelet")).encode()
            )

    add(slide, "monocyte", "platelet")
    project(slide, bundle, file)
    go_on()
    os.utime(file, ns=(1, 1))
    assert project(slide, bundle, file) is None
    edited = file.read_bytes().replace(b"monocyte", b"basophil")
    file.write_bytes(edited)
    os.utime(file, ns=(2, 2))
    go_on()
    moved = project(slide, bundle, file)
    assert moved is not None
    assert moved.read_bytes().startswith(edited)
    assert verify(slide, bundle, file) == []
    assert project(slide, bundle, file) is None


@pytest.mark.parametrize("stale", [False, True])
def test_what_was_written_is_read_again_only_where_its_time_has_changed(
    slide: SlideLedger, bundle: Bundle, file: Path, monkeypatch: pytest.MonkeyPatch, stale: bool
):
    add(slide, "ig", "monocyte")
    project(slide, bundle, file)
    add(slide, "platelet", seq=1 if stale else None)
    lengths: list[int] = []
    crc32 = zlib.crc32
    monkeypatch.setattr(table.zlib, "crc32", lambda data, value=0: lengths.append(len(data)) or crc32(data, value))
    project(slide, bundle, file)
    assert lengths == [file.stat().st_size if stale else len(rows(bundle, "platelet").encode())]


def test_each_changed_file_is_kept(slide: SlideLedger, bundle: Bundle, file: Path):
    add(slide, "ig", "monocyte")
    project(slide, bundle, file)
    for edit in ("first", "second"):
        file.write_text(edit)
        assert project(slide, bundle, file) is not None
    file.unlink()
    assert project(slide, bundle, file) is None
    kept = {path.name: path.read_text("utf-8") for path in file.parent.glob("cells.csv*")}
    assert kept == {
        "cells.csv": text(bundle, "ig", "monocyte"),
        "cells.csv.damaged": "first",
        "cells.csv.damaged-2": "second",
    }


def test_a_changed_file_is_kept_also_where_a_row_was_replaced(slide: SlideLedger, bundle: Bundle, file: Path):
    add(slide, "ig", "monocyte")
    project(slide, bundle, file)
    edited = file.read_bytes().replace(b"\n", b"\r\n")
    file.write_bytes(edited)
    add(slide, "platelet", seq=1)
    moved = project(slide, bundle, file)
    assert moved is not None
    assert moved.read_bytes() == edited
    assert file.read_text("utf-8") == text(bundle, "platelet", "monocyte")


@pytest.mark.parametrize("begun", [False, True])
def test_a_kill_after_the_file_was_rebuilt_is_no_change(
    slide: SlideLedger, bundle: Bundle, file: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
):
    add(slide, "ig", "monocyte")
    if begun:
        project(slide, bundle, file)
        add(slide, "basophil", seq=1)
    with monkeypatch.context() as patch:
        patch.setattr(slide, "move_cursor", interrupt)
        with pytest.raises(KeyboardInterrupt):
            project(slide, bundle, file)
    assert project(slide, bundle, file) is None
    assert not slide.cursor().stale
    assert verify(slide, bundle, file) == []


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_superseded_row_is_written_in_its_old_place(slide: SlideLedger, bundle: Bundle, file: Path):
    add(slide, "ig", "monocyte")
    project(slide, bundle, file)
    add(slide, "platelet", seq=1)
    add(slide, "basophil")
    assert project(slide, bundle, file) is None
    assert file.read_text("utf-8") == text(bundle, "platelet", "monocyte", "basophil")
    assert not slide.cursor().stale


def test_a_crash_between_file_and_cursor_is_mended(
    slide: SlideLedger, bundle: Bundle, file: Path, monkeypatch: pytest.MonkeyPatch
):
    def crash(*arguments: object) -> None:
        raise KeyboardInterrupt

    project(slide, bundle, file)
    for step in ("append", "rewrite"):
        add(slide, "ig", seq=None if step == "append" else 1)
        with monkeypatch.context() as patch:
            patch.setattr(slide, "move_cursor", crash)
            with pytest.raises(KeyboardInterrupt):
                project(slide, bundle, file)
        assert project(slide, bundle, file) is None
        assert file.read_text("utf-8") == text(bundle, "ig")


def test_rebuilt_is_byte_for_byte_the_same(slide: SlideLedger, bundle: Bundle, file: Path):
    add(slide, *["ig", "ü", "monocyte"] * 6)
    project(slide, bundle, file)
    whole = file.read_bytes()
    file.write_bytes(b"")
    rebuild(slide, bundle, file)
    assert file.read_bytes() == whole
    assert project(slide, bundle, file) is None


def test_verify_names_the_row_that_was_edited_lost_or_added(slide: SlideLedger, bundle: Bundle, file: Path):
    add(slide, "ig", "monocyte", "platelet")
    project(slide, bundle, file)
    assert verify(slide, bundle, file) == []
    header, first, second, third = text(bundle, "ig", "monocyte", "platelet").splitlines(keepends=True)
    file.write_text(header + first + second.replace("monocyte", "platelet") + third, "utf-8")
    assert verify(slide, bundle, file) == [Difference(3, "edited", second)]
    file.write_text(header + first + third, "utf-8")
    assert verify(slide, bundle, file) == [Difference(3, "missing", second)]
    file.write_text(header + first + second + second + third, "utf-8")
    assert [difference.problem for difference in verify(slide, bundle, file)] == ["added"]
    file.write_text(header.replace("seq", "number") + first + second + third, "utf-8")
    assert verify(slide, bundle, file) == [Difference(1, "edited", header)]
    file.unlink()
    assert [difference.problem for difference in verify(slide, bundle, file)] == ["missing"] * 4


def test_a_full_disk_leaves_the_file_and_the_cursor(
    slide: SlideLedger, bundle: Bundle, file: Path, monkeypatch: pytest.MonkeyPatch
):
    add(slide, "ig")
    project(slide, bundle, file)
    add(slide, "platelet", seq=1)

    def full(file: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(table, "replace_file", full)
        with pytest.raises(OSError, match="No space left"):
            project(slide, bundle, file)
    assert file.read_text("utf-8") == text(bundle, "ig")
    project(slide, bundle, file)
    assert file.read_text("utf-8") == text(bundle, "platelet")
