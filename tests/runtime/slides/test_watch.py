import errno
import inspect
import os
import shutil
import time
from pathlib import Path

import pytest
from scene import Scene, put

from cartcls.runtime.reports.table import verify
from cartcls.runtime.slides import pipeline
from cartcls.runtime.slides import slide as work
from cartcls.runtime.slides import watch as watching
from cartcls.runtime.slides.watch import AT_ONCE, Watch


def test_each_folder_is_a_slide_and_what_lies_above_is_one_too(scene: Scene, cells: list[bytes]):
    put(scene.captures / "a", "1.jpg", cells[0])
    put(scene.captures / "b", "1.jpg", cells[1])
    put(scene.captures, "loose.jpg", cells[2])
    assert scene.wait() == 3
    assert {path.name for path in scene.out.iterdir() if path.is_dir()} == {"a", "b", "captures"}
    assert scene.rows("captures").keys() == {"loose.jpg"}
    assert scene.rows("a")["1.jpg"]["sha256"] != scene.rows("b")["1.jpg"]["sha256"]
    assert not scene.said


def test_deeper_folders_are_told_of_once(scene: Scene, cells: list[bytes]):
    put(scene.captures / "monday" / "slide-1", "1.jpg", cells[0])
    put(scene.captures / "monday" / "slide-2", "1.jpg", cells[1])
    scene.wait()
    assert scene.rows("monday").keys() == {"slide-1/1.jpg", "slide-2/1.jpg"}
    (line,) = scene.said
    assert "are part of the slide monday" in line
    assert "--slide-level 2" in line


def test_what_a_share_and_cartcls_leave_in_the_capture_folder_are_no_slides(scene: Scene, cells: list[bytes]):
    for folder in (
        "@Recycle/s",
        "#recycle/s",
        "@Recently-Snapshot/GMT+01_2026/s",
        "old-reports/s/thumbnails",
        "figures",
    ):
        put(scene.captures / folder, "1.jpg", cells[0])
    put(scene.captures / "old-reports", "ledger.sqlite", b"")
    put(scene.captures / "figures", "metrics.json", b"")
    put(scene.captures / "figures", "mistakes.html", b"")
    put(scene.captures / "s", "1.jpg", cells[1])
    assert scene.wait() == 1
    assert {path.name for path in scene.out.iterdir() if path.is_dir()} == {"s"}
    put(scene.captures / "s", "notes.pdf", b"%PDF")
    scene.wait(10)
    (first, second) = scene.said
    assert first == "left out: folders named #recycle, @Recently-Snapshot, @Recycle, figures, old-reports"
    assert second.startswith("left out: 1 file that is no image (.pdf), folders named")


@pytest.mark.parametrize(
    "name", [".syncthing.x.jpg.tmp", ".x.jpg.AbC123", "x.jpg.part", "x.jpg.AbC123", "x.jpg.filepart"]
)
def test_a_file_gets_its_row_under_its_final_name(scene: Scene, cells: list[bytes], name: str):
    file = put(scene.captures / "s", name, cells[0])
    assert scene.wait(10) == 0
    file.rename(file.with_name("x.jpg"))
    assert scene.wait(5) == 1
    assert scene.rows("s").keys() == {"x.jpg"}


def test_a_file_without_a_suffix_gets_its_row_once_it_begins_like_an_image(scene: Scene, cells: list[bytes]):
    file = put(scene.captures / "s", "cell", b"\0" * len(cells[0]))
    assert scene.wait(5) == 0
    file.write_bytes(cells[0])
    assert scene.wait(5) == 1
    file.write_bytes(b"spoilt")
    scene.wait(1300)
    assert scene.rows("s")["cell"]["status"] == "rejected"


def test_slides_may_lie_deeper(scene: Scene, cells: list[bytes]):
    scene.begin(level=2)
    put(scene.captures / "monday" / "slide-1", "1.jpg", cells[0])
    put(scene.captures / "tuesday", "above.jpg", cells[1])
    scene.wait()
    assert scene.rows("slide-1").keys() == {"1.jpg"}
    assert scene.rows("captures").keys() == {"tuesday/above.jpg"}


def test_a_file_is_read_when_it_is_at_rest_and_not_before(scene: Scene, cells: list[bytes]):
    file = put(scene.captures / "s", "1.jpg", cells[0][:5000])
    for end in (6000, 9000, 10_000, len(cells[0])):
        assert scene.wait(1) == 0
        file.write_bytes(cells[0][:end])
    assert scene.wait(1) == 0
    assert scene.wait(1) == 0
    assert not scene.batches
    assert scene.wait(2) == 1
    assert scene.rows("s")["1.jpg"]["status"] == "ok"


def test_a_writer_that_stalls_gets_time_and_its_last_bytes_count(scene: Scene, cells: list[bytes]):
    file = put(scene.captures / "s", "1.jpg", cells[0][:5000].ljust(len(cells[0]), b"\0"))
    assert scene.wait(60) == 0
    assert not (scene.out / "s" / "thumbnails" / "000001.jpg").exists()
    file.write_bytes(cells[0])
    assert scene.wait(60) == 1
    assert scene.rows("s")["1.jpg"]["status"] == "ok"


def test_what_is_never_whole_is_rejected_after_ten_minutes(scene: Scene, cells: list[bytes]):
    put(scene.captures / "s", "1.jpg", cells[0][:5000])
    put(scene.captures / "s", "2.jpg", cells[1])
    assert scene.wait(590) == 1
    assert scene.rows("s").keys() == {"2.jpg"}
    assert scene.wait(20) == 1
    row = scene.rows("s")["1.jpg"]
    assert (row["status"], bool(row["reason"])) == ("rejected", True)
    assert scene.wait(300) == 0


def test_what_can_never_be_taken_is_rejected_at_once(scene: Scene):
    (scene.captures / "s").mkdir()
    os.mkfifo(scene.captures / "s" / "pipe.jpg")
    put(scene.captures / "s", "stack.czi", b"ZISRAW")
    assert scene.wait() == 2
    assert all(row["status"] == "rejected" for row in scene.rows("s").values())


def test_a_changed_file_gets_a_new_row_in_the_old_place(scene: Scene, cells: list[bytes]):
    put(scene.captures / "s", "1.jpg", cells[0])
    put(scene.captures / "s", "2.jpg", cells[1])
    scene.wait()
    before = scene.rows("s")
    put(scene.captures / "s", "1.jpg", cells[2])
    scene.wait(70)
    after = scene.rows("s")
    assert after["1.jpg"]["sha256"] != before["1.jpg"]["sha256"]
    assert after["2.jpg"] == before["2.jpg"]


def test_when_the_first_of_two_equal_files_changes_the_other_counts(scene: Scene, cells: list[bytes]):
    put(scene.captures / "s", "1.jpg", cells[0])
    put(scene.captures / "s", "2.jpg", cells[0])
    scene.wait()
    assert scene.rows("s")["2.jpg"]["status"] == "duplicate"
    put(scene.captures / "s", "1.jpg", cells[2])
    scene.wait(70)
    assert {row["status"] for row in scene.rows("s").values()} == {"ok"}


def test_a_file_that_goes_before_it_was_read_is_no_row_and_may_come_back(scene: Scene, cells: list[bytes]):
    file = put(scene.captures / "s", "1.jpg", cells[0])
    put(scene.captures / "s", "2.jpg", cells[1])
    scene.wait(1)
    file.unlink()
    assert scene.wait(5) == 1
    assert scene.watch.waiting() == 0
    put(scene.captures / "s", "1.jpg", cells[0])
    assert scene.wait(5) == 1
    assert scene.rows("s").keys() == {"2.jpg", "1.jpg"}


def test_nothing_is_forgotten_when_the_folder_goes_away(scene: Scene, cells: list[bytes], tmp_path: Path):
    put(scene.captures / "s", "1.jpg", cells[0])
    scene.wait()
    put(scene.captures / "s", "2.jpg", cells[1])
    scene.wait(1)
    scene.captures.rename(tmp_path / "elsewhere")
    assert scene.wait(60) == 0
    (tmp_path / "elsewhere").rename(scene.captures)
    assert scene.wait(5) == 1
    assert scene.rows("s").keys() == {"1.jpg", "2.jpg"}
    assert len(scene.said) == 2


def test_the_clock_of_a_watch_is_not_one_that_people_set(scene: Scene, cells: list[bytes]):
    assert inspect.signature(Watch).parameters["clock"].default is time.monotonic
    put(scene.captures / "s", "1.jpg", cells[0])  # with a clock that is set back by an hour, it would be an hour late
    scene.wait(1)
    scene.time -= 3600
    assert scene.wait(60) == 0


def test_a_new_watch_goes_on_with_what_came_before_and_meanwhile(scene: Scene, cells: list[bytes]):
    put(scene.captures / "s", "1.jpg", cells[0])
    scene.wait()
    put(scene.captures / "s", "2.jpg", cells[1])
    scene.wait(1)  # seen, and then the process ends
    put(scene.captures / "s", "3.jpg", cells[2])
    os.utime(scene.captures / "s" / "3.jpg", (0, 0))
    scene.begin()
    assert scene.wait() == 2
    assert scene.rows("s").keys() == {"1.jpg", "2.jpg", "3.jpg"}
    assert sum(scene.batches) == 3


def test_pages_grow_with_the_slide_but_are_not_written_for_every_cell(
    scene: Scene, cells: list[bytes], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watching, "PAGE_FACTOR", 0)  # a page costs real seconds, the scene's are not
    for number in range(3):
        put(scene.captures / "s", f"{number}.jpg", cells[number])
        scene.wait(4)
    summary = scene.out / "s" / "summary.json"
    assert f'"images": {3}' in summary.read_text()
    written = summary.stat().st_mtime_ns
    scene.wait(20)
    assert summary.stat().st_mtime_ns == written


def test_a_share_is_given_longer(scene: Scene, cells: list[bytes], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watching, "file_system", lambda folder: "cifs")
    put(scene.captures / "s", "1.jpg", cells[0])
    assert scene.wait(9) == 0
    assert scene.wait(3) == 1


def test_once_takes_what_is_there(scene: Scene, slide: Path, cells: list[bytes]):
    scene.begin(AT_ONCE)
    shutil.copytree(slide, scene.captures / "s")
    put(scene.captures / "s", "cut.jpg", cells[0][:5000])
    assert scene.watch.step() == 32
    assert scene.watch.step() == 1
    assert scene.watch.waiting() == 0
    assert scene.rows("s")["cut.jpg"]["status"] == "rejected"


def test_once_notices_a_file_that_was_changed_since_its_row(scene: Scene, cells: list[bytes]):
    put(scene.captures / "s", "1.jpg", cells[0])
    scene.begin(AT_ONCE)
    assert scene.watch.step() == 1
    before = scene.rows("s")["1.jpg"]["sha256"]
    put(scene.captures / "s", "1.jpg", cells[1])
    scene.begin(AT_ONCE)
    assert scene.watch.step() == 1
    assert scene.rows("s")["1.jpg"]["sha256"] != before


def test_a_sign_of_life_follows_each_slide(scene: Scene, cells: list[bytes]):
    put(scene.captures / "a", "1.jpg", cells[0])
    put(scene.captures / "b", "1.jpg", cells[1])
    done: list[int] = []
    scene.begin(AT_ONCE, alive=lambda: done.append(len(scene.batches)))
    assert scene.watch.step() == 2
    assert done == [1, 2]


def test_a_disk_that_gets_full_is_waited_for(scene: Scene, cells: list[bytes], monkeypatch: pytest.MonkeyPatch):
    put(scene.captures / "s", "1.jpg", cells[0])
    assert scene.wait() == 1
    usage = shutil.disk_usage(scene.out)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**8))
    put(scene.captures / "s", "2.jpg", cells[1])
    assert scene.wait(20) == 0
    assert scene.watch.full
    assert scene.said == [f"95 MiB are free for {scene.out}, less than 256: nothing is classified until there is room"]
    monkeypatch.undo()
    assert scene.wait() == 1
    assert scene.said[1:] == [f"there is room again for {scene.out}"]
    assert scene.rows("s").keys() == {"1.jpg", "2.jpg"}


@pytest.mark.parametrize("victim", ["thumbnail", "table", "ledger"])
def test_a_full_disk_in_the_middle_loses_and_doubles_nothing_and_blames_no_image(
    scene: Scene, cells: list[bytes], monkeypatch: pytest.MonkeyPatch, victim: str
):
    for number in range(10):
        put(scene.captures / "s", f"{number}.jpg", cells[number])
    left = 6

    def until_full(write):  # type: ignore[no-untyped-def]
        def limited(*args, **values):  # type: ignore[no-untyped-def]
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(*args, **values)

        return limited

    with monkeypatch.context() as patch:
        if victim == "ledger":
            pages = scene.ledger._database.execute("PRAGMA page_count").fetchone()[0]
            scene.ledger._database.execute(f"PRAGMA max_page_count = {pages + 1}")
        else:
            module, name = {"thumbnail": (pipeline, "replace_files"), "table": (work, "project")}[victim]
            patch.setattr(module, name, until_full(getattr(module, name)))
            left = 1
        scene.wait(8)
    assert "is full: nothing is classified until there is room" in scene.said[0]
    scene.ledger._database.execute("PRAGMA max_page_count = 1000000")
    scene.wait()
    rows = scene.rows("s")
    assert len(rows) == 10
    assert {row["status"] for row in rows.values()} == {"ok"}
    (slide,) = scene.ledger.slides()
    assert verify(slide, scene.bundle, scene.out / "s" / "cells.csv") == []
