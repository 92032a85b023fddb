"""Rows follow their bytes: what becomes of files that were touched, moved, exchanged, deleted, or are back."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from bench import Bench, count_reads, rewrite_unseen, statuses, touch, without_path
from samples import differential_of
from scene import Scene, put

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError


@pytest.fixture
def bench(tmp_path: Path, slide: Path, bundle: Bundle) -> Bench:
    return Bench(tmp_path, slide, bundle)


def unlisted(name: bytes):  # type: ignore[no-untyped-def]
    """`os.scandir`, for which a folder cannot be listed."""
    scandir = os.scandir

    def fail(path: bytes):  # type: ignore[no-untyped-def]
        if os.fsencode(path).endswith(name):
            raise OSError(errno.EHOSTDOWN, os.strerror(errno.EHOSTDOWN), path)
        return scandir(path)

    return fail


def test_a_deleted_image_is_gone_and_comes_back_as_it_was(bench: Bench):
    before = bench.batch()
    bench.correct((1, "monocyte"), (2, "unsure"))
    reviewed, kept = bench.rows(), bench.path(1).read_bytes()
    for number in (1, 2):
        bench.path(number).unlink()
    rows = bench.batch()
    assert statuses(rows) == {"1.jpg": "gone", "2.jpg": "gone"}
    assert rows["1.jpg"]["reason"] == "its file is no longer in the slide's folder"
    assert without_path(rows["1.jpg"]) == without_path(reviewed["1.jpg"])
    assert (bench.summary.images, bench.summary.status["gone"], bench.summary.status["ok"]) == (6, 2, 6)
    assert (bench.summary.reviewed, bench.summary.awaiting_review) == (0, 0)
    assert differential_of(bench.summary).leukocytes == 6
    assert bench.said == ["slide: gone since the last run, so no longer counted: 2"]
    assert '>Gone</th><td class="number">2</td>' in (bench.out / "slide" / "report.html").read_text(encoding="utf-8")
    assert (bench.batch(), bench.said) == (rows, [])
    bench.path(1).write_bytes(kept)
    rows = bench.batch()
    assert (rows["1.jpg"], bench.batches) == (reviewed["1.jpg"], [])
    assert rows["3.jpg"] == before["3.jpg"]


def test_another_image_of_the_same_name_as_one_that_is_gone_takes_its_row(bench: Bench, cells: list[bytes]):
    bench.batch()
    bench.correct((1, "monocyte"))
    bench.path(1).unlink()
    bench.batch()
    bench.path(1).write_bytes(cells[20])
    rows = bench.batch()
    assert (statuses(rows), bench.batches) == ({}, [1])
    assert rows["1.jpg"]["corrected_by"] == ""


def test_a_folder_that_lost_over_half_of_its_images_is_refused_and_nothing_is_changed(bench: Bench, tmp_path: Path):
    """As after immich-app/immich#17290: a mount went away, and when it was back, all was computed again."""
    before = bench.batch()
    ledger = (bench.out / "ledger.sqlite").read_bytes()
    bench.folder.rename(tmp_path / "elsewhere")
    bench.folder.mkdir()  # the mount point
    with pytest.raises(OutputError, match=r"8 of 8 images .* when it is back; if they were deleted,") as refusal:
        bench.batch()
    assert str(refusal.value).endswith(f": cartcls batch {bench.folder} --fresh --out {bench.out}")
    assert (bench.rows(), (bench.out / "ledger.sqlite").read_bytes()) == (before, ledger)
    bench.folder.rmdir()
    (tmp_path / "elsewhere").rename(bench.folder)
    assert (bench.batch(), bench.batches) == (before, [])
    for number in (1, 2, 3, 4):
        bench.path(number).unlink()
    assert set(statuses(bench.batch()).values()) == {"gone"}
    for number in (5, 6):  # of the four that are left
        bench.path(number).unlink()
    assert len(statuses(bench.batch())) == 6


def test_rows_that_were_never_cells_may_all_go(bench: Bench, cells: list[bytes], monkeypatch: pytest.MonkeyPatch):
    for number in range(1, 9):
        bench.path(number).unlink()
        put(bench.folder / "sub", f"{number}.czi", b"junk%d" % number)
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", unlisted(b"sub"))
        assert statuses(bench.batch()) == {"sub": "rejected"}
    assert statuses(bench.batch()).pop("sub") == "gone"
    for number in range(1, 9):
        (bench.folder / "sub" / f"{number}.czi").unlink()
        put(bench.folder / "sub", f"{number}.jpg", cells[number])
    rows = bench.batch()
    assert [row["path"] for row in rows.values() if row["status"] == "ok"] == [f"sub/{n}.jpg" for n in range(1, 9)]
    assert len(statuses(rows)) == 9


def test_a_moved_image_is_no_duplicate_of_a_path_that_is_gone(bench: Bench):
    """As in photoprism/photoprism#568, where moved photos became duplicates of those that they had been."""
    shutil.copy(bench.path(2), bench.folder / "copy.jpg")
    before = bench.batch()
    bench.correct((1, "monocyte"))
    reviewed = bench.rows()
    (bench.folder / "sorted").mkdir()
    for number in (1, 2):
        bench.path(number).rename(bench.folder / "sorted" / f"{number}.jpg")
    rows = bench.batch()
    assert (statuses(rows), bench.batches) == ({"sorted/1.jpg": "reviewed", "copy.jpg": "duplicate"}, [])
    assert rows["copy.jpg"]["reason"] == "same bytes as sorted/2.jpg"
    assert rows.keys() == before.keys() - {"1.jpg", "2.jpg"} | {"sorted/1.jpg", "sorted/2.jpg"}
    for number in (1, 2):
        assert without_path(rows[f"sorted/{number}.jpg"]) == without_path(reviewed[f"{number}.jpg"])
    assert bench.said == ["slide: renamed or moved since the last run, with their rows: 2"]


def test_a_whole_slide_may_move_to_another_folder_in_it(bench: Bench):
    before = bench.batch()
    (bench.folder / "all").mkdir()
    for number in range(1, 9):
        bench.path(number).rename(bench.folder / "all" / f"{number}.jpg")
    rows = bench.batch()
    assert (statuses(rows), bench.batches) == ({}, [])
    assert [row["seq"] for row in rows.values()] == [row["seq"] for row in before.values()]


def test_a_moved_image_and_another_of_its_old_name_are_two(bench: Bench, cells: list[bytes]):
    """As in lene/DuplicateImages#19, where the new file got what was known of the one that was moved."""
    bench.batch()
    bench.correct((1, "monocyte"))
    reviewed = bench.rows()["1.jpg"]
    bench.path(1).rename(bench.folder / "kept.jpg")
    bench.path(1).write_bytes(cells[20])
    rows = bench.batch()
    assert (statuses(rows), bench.batches) == ({"kept.jpg": "reviewed"}, [1])
    assert without_path(rows["kept.jpg"]) == without_path(reviewed)
    assert (rows["1.jpg"]["seq"], rows["1.jpg"]["corrected_by"]) == ("9", "")


def test_files_that_are_numbered_anew_keep_their_rows(bench: Bench):
    """As in 0x90d/videoduplicatefinder#149: one is deleted, and another gets its name."""
    bench.batch()
    bench.correct((3, "monocyte"))
    before = bench.rows()
    bench.path(1).unlink()
    for number in range(2, 9):
        bench.path(number).rename(bench.path(number - 1))
    rows = bench.batch()
    assert (statuses(rows), bench.batches) == ({"2.jpg": "reviewed", "8.jpg": "gone"}, [])
    for number in range(2, 9):
        assert without_path(rows[f"{number - 1}.jpg"]) == without_path(before[f"{number}.jpg"])
    assert rows["8.jpg"]["sha256"] == before["1.jpg"]["sha256"]


def test_two_images_that_exchange_names_exchange_their_rows(bench: Bench):
    before = bench.batch()
    bench.correct((1, "monocyte"))
    bench.path(1).rename(bench.folder / "x")
    bench.path(2).rename(bench.path(1))
    (bench.folder / "x").rename(bench.path(2))
    rows = bench.batch()
    assert (statuses(rows), bench.batches) == ({"2.jpg": "reviewed"}, [])
    assert rows["1.jpg"]["sha256"] == before["2.jpg"]["sha256"]


def test_equal_files_that_are_all_renamed_are_counted_once(bench: Bench):
    """As in getsentry/sentry#114497, where renames of files with equal bytes were told as deleted and added."""
    shutil.copy(bench.path(1), bench.folder / "1-again.jpg")
    shutil.copy(bench.path(1), bench.folder / "1-more.jpg")
    bench.batch()
    for path in list(bench.folder.glob("1*.jpg")):
        path.rename(bench.folder / f"new-{path.name}")
    rows = bench.batch()
    assert sorted(statuses(rows).values()) == ["duplicate", "duplicate"]
    (counted,) = [path for path, row in rows.items() if path.startswith("new") and row["status"] == "ok"]
    assert {row["reason"] for row in rows.values()} == {"", f"same bytes as {counted}"}
    assert (len(rows), bench.batches) == (10, [])


@pytest.mark.parametrize("and_then", ["deleted", "overwritten"])
def test_a_duplicate_whose_original_is_gone_is_counted_with_its_corrections(
    bench: Bench, cells: list[bytes], and_then: str
):
    shutil.copy(bench.path(1), bench.folder / "z.jpg")
    shutil.copy(bench.path(1), bench.folder / "zz.jpg")
    bench.batch()
    bench.correct((1, "monocyte"))
    bench.path(1).unlink()
    if and_then == "overwritten":
        bench.path(1).write_bytes(cells[20])
    rows = bench.batch()
    assert {path: rows[path]["status"] for path in ("z.jpg", "zz.jpg")} == {"z.jpg": "reviewed", "zz.jpg": "duplicate"}
    assert rows["zz.jpg"]["reason"] == "same bytes as z.jpg"
    assert (rows["z.jpg"]["seq"], rows["z.jpg"]["label"]) == ("1", "monocyte")
    assert (rows["1.jpg"]["status"], bench.batches) == {"deleted": ("gone", []), "overwritten": ("ok", [1])}[and_then]
    if and_then == "deleted":
        shutil.copy(bench.folder / "z.jpg", bench.path(1))
        assert statuses(bench.batch()) == {"z.jpg": "reviewed", "zz.jpg": "duplicate", "1.jpg": "duplicate"}


def test_of_equal_images_that_are_all_gone_whichever_comes_back_is_counted(bench: Bench):
    data = bench.path(1).read_bytes()
    (bench.folder / "z.jpg").write_bytes(data)
    bench.batch()
    for name in ("1.jpg", "z.jpg"):
        (bench.folder / name).unlink()
    assert statuses(bench.batch()) == {"1.jpg": "gone", "z.jpg": "gone"}
    (bench.folder / "z.jpg").write_bytes(data)
    rows = bench.batch()
    assert (statuses(rows), rows["z.jpg"]["seq"], bench.batches) == ({"1.jpg": "gone"}, "1", [])
    (bench.folder / "elsewhere.jpg").write_bytes(data)
    assert statuses(bench.batch()) == {"elsewhere.jpg": "duplicate"}


def test_an_image_that_was_rejected_may_go_and_come_back_too(bench: Bench):
    bench.path(1).write_bytes(b"junk")
    assert statuses(bench.batch()) == {"1.jpg": "rejected"}
    bench.path(1).unlink()
    assert statuses(bench.batch()) == {"1.jpg": "gone"}
    bench.path(1).write_bytes(b"junk")
    assert statuses(bench.batch()) == {"1.jpg": "rejected"}


def test_an_image_that_was_rejected_for_its_name_is_read_under_another(scene: Scene, cells: list[bytes]):
    file = put(scene.captures / "s", "1.czi", cells[0])
    scene.wait()
    assert statuses(scene.rows("s")) == {"1.czi": "rejected"}
    file.rename(scene.captures / "s" / "1.jpg")
    scene.wait()
    rows = scene.rows("s")
    assert (statuses(rows), rows.keys()) == ({}, {"1.jpg"})


def test_what_is_in_a_folder_that_cannot_be_listed_is_not_gone(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    (bench.folder / "sub").mkdir()
    bench.path(1).rename(bench.folder / "sub" / "1.jpg")
    before = bench.batch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", unlisted(b"sub"))
        rows = bench.batch()
    assert rows["sub/1.jpg"] == before["sub/1.jpg"]
    assert statuses(rows) == {"sub": "rejected"}
    assert statuses(bench.batch()) == {"sub": "gone"}


def test_bytes_that_changed_under_the_same_size_and_time_are_noticed(bench: Bench, cells: list[bytes]):
    large = max(cells, key=len)
    bench.path(1).write_bytes(large)
    before = bench.batch()
    rewrite_unseen(bench.path(1), cells[20])
    rows = bench.batch()
    assert (rows["1.jpg"]["sha256"] != before["1.jpg"]["sha256"], bench.batches) == (True, [1])


def test_a_change_of_mode_or_owner_reads_each_file_once_and_classifies_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    before, read = bench.batch(), count_reads(monkeypatch)
    table = (bench.out / "slide" / "cells.csv").stat().st_mtime_ns
    for number in range(1, 9):
        touch(bench.path(number))
    assert (bench.batch(), bench.batches, len(read)) == (before, [], 8)
    assert (bench.batch(), bench.batches, len(read)) == (before, [], 8)
    assert (bench.out / "slide" / "cells.csv").stat().st_mtime_ns == table


def test_a_restored_backup_classifies_nothing(bench: Bench, tmp_path: Path):
    before = bench.batch()
    shutil.copytree(bench.folder, tmp_path / "backup")
    shutil.rmtree(bench.folder)
    (tmp_path / "backup").rename(bench.folder)
    assert (bench.batch(), bench.batches) == (before, [])


@pytest.mark.parametrize("victim", ["rearrange", "requeue"])
def test_what_ends_between_the_steps_loses_and_doubles_nothing(
    bench: Bench, cells: list[bytes], monkeypatch: pytest.MonkeyPatch, victim: str
):
    bench.batch()
    bench.correct((1, "monocyte"))
    bench.path(1).rename(bench.folder / "kept.jpg")
    bench.path(2).unlink()
    bench.path(3).write_bytes(cells[20])

    def end(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"cartcls.runtime.ledger.slide_ledger.SlideLedger.{victim}", end)
        with pytest.raises(KeyboardInterrupt):
            bench.batch()
    rows = bench.batch()
    assert statuses(rows) == {"kept.jpg": "reviewed", "2.jpg": "gone"}
    assert rows.keys() == {"kept.jpg", *(f"{number}.jpg" for number in range(2, 9))}
