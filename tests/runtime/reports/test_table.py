from collections.abc import Iterator
from pathlib import Path

import pytest

from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import Cell
from cartcls.runtime.ledger.schema import Result, Slide
from cartcls.runtime.reports import table
from cartcls.runtime.reports.table import Difference, project, rebuild, verify

HEADER = "seq,label\n"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


@pytest.fixture
def slide(ledger: Ledger) -> Slide:
    return ledger.add_slide(b"/captures/s", "s")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cells.csv"


def add(ledger: Ledger, slide: Slide, *labels: str, seq: int | None = None) -> None:
    """Report new cells, or one again."""
    for label in labels:
        number = seq or ledger.next_seq(slide)
        ledger.discover(slide, [b"%d" % number])
        image = ledger.images(slide)[b"%d" % number].id
        cell = Cell(number, str(number), "ok", "", "", label, (1.0,))
        ledger.report(slide, [Result(image, "reported", None, cell, f"{number},{label}\n")])


def test_rows_are_appended_as_they_come(ledger: Ledger, slide: Slide, file: Path):
    project(ledger, slide, HEADER, file)
    assert file.read_text() == HEADER
    add(ledger, slide, "ig", "monocyte")
    inode = file.stat().st_ino
    project(ledger, slide, HEADER, file)
    add(ledger, slide, "ü")
    project(ledger, slide, HEADER, file)
    project(ledger, slide, HEADER, file)
    assert file.read_text("utf-8") == HEADER + "1,ig\n2,monocyte\n3,ü\n"
    assert file.stat().st_ino == inode


@pytest.mark.parametrize("kept", range(len("1,ig\n2,monocyte\n") + 1))
def test_what_a_killed_process_had_appended_is_kept(ledger: Ledger, slide: Slide, file: Path, kept: int):
    project(ledger, slide, HEADER, file)
    add(ledger, slide, "ig", "monocyte")
    with file.open("a") as handle:
        handle.write("1,ig\n2,monocyte\n"[:kept])
    assert project(ledger, slide, HEADER, file) is None
    assert file.read_text() == HEADER + "1,ig\n2,monocyte\n"
    assert not verify(ledger, slide, HEADER, file)


@pytest.mark.parametrize("spoil", ["1,ig\n1,ig\n", "1,platelet\n", "\0\0\0\0", "1,ig\n2,monocyte\n3,more\n"])
def test_a_tail_that_is_not_ours_is_moved_aside(ledger: Ledger, slide: Slide, file: Path, spoil: str):
    project(ledger, slide, HEADER, file)
    add(ledger, slide, "ig", "monocyte")
    with file.open("a") as handle:
        handle.write(spoil)
    moved = project(ledger, slide, HEADER, file)
    assert moved is not None
    assert moved.read_text() == HEADER + spoil
    assert file.read_text() == HEADER + "1,ig\n2,monocyte\n"


def test_a_shortened_or_foreign_file_is_moved_aside_and_a_missing_one_made(ledger: Ledger, slide: Slide, file: Path):
    add(ledger, slide, "ig", "monocyte")
    file.write_text("not ours\n")
    assert project(ledger, slide, HEADER, file) is not None
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    assert project(ledger, slide, HEADER, file) is not None
    assert file.read_bytes() == whole
    file.unlink()
    project(ledger, slide, HEADER, file)
    assert file.read_bytes() == whole


def test_a_superseded_row_is_written_in_its_old_place(ledger: Ledger, slide: Slide, file: Path):
    add(ledger, slide, "ig", "monocyte")
    project(ledger, slide, HEADER, file)
    add(ledger, slide, "platelet", seq=1)
    add(ledger, slide, "basophil")
    assert project(ledger, slide, HEADER, file) is None
    assert file.read_text() == HEADER + "1,platelet\n2,monocyte\n3,basophil\n"
    assert not ledger.cursor(slide).stale


def test_a_crash_between_file_and_cursor_is_mended(
    ledger: Ledger, slide: Slide, file: Path, monkeypatch: pytest.MonkeyPatch
):
    def crash(*arguments: object) -> None:
        raise KeyboardInterrupt

    project(ledger, slide, HEADER, file)
    for step in ("append", "rewrite"):
        add(ledger, slide, "ig", seq=None if step == "append" else 1)
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "move_cursor", crash)
            with pytest.raises(KeyboardInterrupt):
                project(ledger, slide, HEADER, file)
        assert project(ledger, slide, HEADER, file) is None
        assert file.read_text() == HEADER + "1,ig\n"


def test_rebuilt_is_byte_for_byte_the_same(ledger: Ledger, slide: Slide, file: Path):
    add(ledger, slide, *["ig", "ü", "monocyte"] * 20)
    project(ledger, slide, HEADER, file)
    whole = file.read_bytes()
    file.write_bytes(b"")
    rebuild(ledger, slide, HEADER, file)
    assert file.read_bytes() == whole
    assert project(ledger, slide, HEADER, file) is None


def test_verify_names_the_row_that_was_edited_lost_or_added(ledger: Ledger, slide: Slide, file: Path):
    add(ledger, slide, "ig", "monocyte", "platelet")
    project(ledger, slide, HEADER, file)
    assert verify(ledger, slide, HEADER, file) == []
    file.write_text(HEADER + "1,ig\n2,platelet\n3,platelet\n")
    assert verify(ledger, slide, HEADER, file) == [Difference(3, "edited", "2,monocyte\n")]
    file.write_text(HEADER + "1,ig\n3,platelet\n")
    assert verify(ledger, slide, HEADER, file) == [Difference(3, "missing", "2,monocyte\n")]
    file.write_text(HEADER + "1,ig\n2,monocyte\n2,monocyte\n3,platelet\n")
    assert [difference.problem for difference in verify(ledger, slide, HEADER, file)] == ["added"]
    file.write_text("seq,label,more\n1,ig\n2,monocyte\n3,platelet\n")
    assert verify(ledger, slide, HEADER, file) == [Difference(1, "edited", HEADER)]
    file.unlink()
    assert [difference.problem for difference in verify(ledger, slide, HEADER, file)] == ["missing"] * 4


def test_a_full_disk_leaves_the_file_and_the_cursor(
    ledger: Ledger, slide: Slide, file: Path, monkeypatch: pytest.MonkeyPatch
):
    add(ledger, slide, "ig")
    project(ledger, slide, HEADER, file)
    add(ledger, slide, "platelet", seq=1)

    def full(file: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(table, "replace_file", full)
        with pytest.raises(OSError, match="No space left"):
            project(ledger, slide, HEADER, file)
    assert file.read_text() == HEADER + "1,ig\n"
    project(ledger, slide, HEADER, file)
    assert file.read_text() == HEADER + "1,platelet\n"
