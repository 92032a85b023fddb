"""Rows follow their bytes in a watch."""

from pathlib import Path

import pytest
from bench import count_reads, rewrite_unseen, statuses, touch, without_path
from fakes import FakeBackend
from reviewer import corrections
from scene import Scene, put

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.reports.corrections import correct
from cartcls.runtime.slides.batch import classify_slide
from cartcls.runtime.slides.watch import AT_ONCE


def test_watched_under_a_temporary_name_it_ends_as_one_row_with_the_last(scene: Scene, cells: list[bytes]):
    file = put(scene.captures / "s", "x-uploading.jpg", cells[0])
    put(scene.captures / "s", "y.jpg", cells[1])
    assert scene.wait() == 2
    before = scene.rows("s")
    file.rename(scene.captures / "s" / "x.jpg")
    scene.wait(5)
    rows = scene.rows("s")
    assert rows.keys() == {"x.jpg", "y.jpg"}
    assert without_path(rows["x.jpg"]) == without_path(before["x-uploading.jpg"])
    assert sum(scene.batches) == 2
    scene.watch.finish()
    page = scene.out / "s" / "cells" / "rows-0000.js"
    assert "x-uploading.jpg" not in page.read_text()


def test_watched_while_it_is_copied_and_then_deleted_it_is_counted_under_the_name_that_stays(
    scene: Scene, cells: list[bytes]
):
    """As in syncthing/syncthing#2787: a rename comes as a new file, and the old one goes later."""
    file = put(scene.captures / "s", "first.jpg", cells[0])
    scene.wait()
    put(scene.captures / "s", "second.jpg", cells[0])
    scene.wait()
    assert statuses(scene.rows("s")) == {"second.jpg": "duplicate"}
    file.unlink()
    scene.wait()
    rows = scene.rows("s")
    assert statuses(rows) == {"first.jpg": "duplicate"}
    assert rows["first.jpg"]["reason"] == "same bytes as second.jpg"
    assert sum(scene.batches) == 2


def test_a_watch_applies_a_correction_again_when_its_bytes_are_back(tmp_path: Path, cells: list[bytes], bundle: Bundle):
    out = tmp_path / "out"
    with open_ledger(out, bundle) as ledger:
        scene = Scene(tmp_path, bundle, ledger)
        file = put(scene.captures / "s", "1.jpg", cells[0])
        scene.wait(5)
    correct(out, corrections(out, (1, "monocyte")), "Ada")
    with open_ledger(out, bundle) as ledger:
        scene = Scene(tmp_path, bundle, ledger)
        corrected = scene.rows("s")["1.jpg"]
        for other in (cells[1], cells[2]):
            file.write_bytes(other)
            scene.wait(70)
            assert scene.rows("s")["1.jpg"]["corrected_by"] == ""
        assert len(scene.said) == 1  # told once
        file.write_bytes(cells[0])
        scene.wait(70)
        row = scene.rows("s")["1.jpg"]
    assert {**row, "analysed_at": ""} == {**corrected, "analysed_at": ""}
    assert row["corrected_by"] == "Ada"


def test_a_watch_takes_no_cell_back_and_a_later_batch_does(scene: Scene, cells: list[bytes], bundle: Bundle):
    for number in range(3):
        put(scene.captures / "s", f"{number}.jpg", cells[number])
    scene.wait()
    (scene.captures / "s" / "0.jpg").unlink()
    scene.wait(120)
    assert statuses(scene.rows("s")) == {}
    classifier = Classifier(bundle, FakeBackend())
    classify_slide(scene.captures / "s", scene.out, classifier, scene.ledger)
    assert statuses(scene.rows("s")) == {"0.jpg": "gone"}
    scene.begin()
    put(scene.captures / "s", "0.jpg", cells[0])
    before = sum(scene.batches)
    scene.wait()
    assert (statuses(scene.rows("s")), sum(scene.batches)) == ({}, before)


def test_a_watched_file_that_is_moved_and_replaced_gives_two_rows(scene: Scene, cells: list[bytes]):
    file = put(scene.captures / "s", "latest.jpg", cells[0])
    scene.wait()
    before = scene.rows("s")["latest.jpg"]
    file.rename(scene.captures / "s" / "0001.jpg")
    put(scene.captures / "s", "latest.jpg", cells[1])
    scene.wait(70)
    rows = scene.rows("s")
    assert (statuses(rows), rows.keys()) == ({}, {"0001.jpg", "latest.jpg"})
    assert rows["0001.jpg"]["sha256"] == before["sha256"] != rows["latest.jpg"]["sha256"]


@pytest.mark.parametrize("once", [False, True])
def test_a_watch_notices_bytes_under_the_same_size_and_time_but_no_change_of_mode(
    scene: Scene, cells: list[bytes], monkeypatch: pytest.MonkeyPatch, once: bool
):
    large = max(cells, key=len)
    changed, touched = (put(scene.captures / "s", name, data) for name, data in (("1.jpg", large), ("2.jpg", cells[1])))
    scene.wait()
    before, read, classified = scene.rows("s"), count_reads(monkeypatch), sum(scene.batches)
    rewrite_unseen(changed, cells[20])
    touch(touched)
    if once:
        scene.begin(AT_ONCE)
        while scene.watch.step():
            pass
    else:
        scene.wait(130)
    rows = scene.rows("s")
    assert rows["1.jpg"]["sha256"] != before["1.jpg"]["sha256"]
    assert rows["2.jpg"] == before["2.jpg"]
    assert (sum(scene.batches) - classified, len(read)) == (1, 2)


def test_a_watch_that_ended_before_it_looked_at_a_moved_file_finds_it_later(scene: Scene, cells: list[bytes]):
    file = put(scene.captures / "s", "1.jpg", cells[0])
    scene.wait()
    file.rename(scene.captures / "s" / "2.jpg")
    scene.wait(1)  # seen, and then the process ends
    scene.begin()
    scene.wait()
    assert scene.rows("s").keys() == {"2.jpg"}
    assert sum(scene.batches) == 1
