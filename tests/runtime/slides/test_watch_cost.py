"""What a watch costs: while nothing happens, and while a slide grows."""

import itertools
import os
from collections.abc import Iterable

import pytest
from scene import Scene, put

from cartcls.runtime.images import discover
from cartcls.runtime.ledger.records import LedgerImage
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.reports.summary import Summary
from cartcls.runtime.slides import capture
from cartcls.runtime.slides import slide as work
from cartcls.runtime.slides.watch import AT_ONCE, WatchTimings


def test_the_pause_is_ten_times_what_a_look_costs(scene: Scene):
    scene.wait(1)
    assert scene.watch.pause() == 1.0
    scene.watch.cost = 0.5
    assert scene.watch.pause() == 5.0


def test_it_wakes_when_a_file_comes_to_rest_and_looks_at_it_again(scene: Scene, cells: list[bytes]):
    scene.begin(WatchTimings(poll=60, page=1000))
    file = put(scene.captures / "s", "1.jpg", cells[0][:5000])
    scene.watch.step()
    assert scene.watch.pause() == 2.0
    file.write_bytes(cells[0])
    scene.time += 2
    assert scene.watch.step() == 0
    assert scene.watch.pause() == 2.0
    scene.time += 2
    assert scene.watch.step() == 1
    assert scene.watch.pause() == 56.0


def test_while_there_is_work_the_folder_is_not_searched_all_the_time(
    scene: Scene, cells: list[bytes], monkeypatch: pytest.MonkeyPatch
):
    looks: list[float] = []
    find = capture.find_images
    monkeypatch.setattr(
        capture, "find_images", lambda *folders, **more: looks.append(scene.time) or find(*folders, **more)
    )
    scene.begin(AT_ONCE)
    for number in range(100):
        put(scene.captures / "s", f"{number}.jpg", cells[number % 32] + b"%d" % number)
    while scene.watch.step():
        pass
    assert len(scene.rows("s")) == 100
    assert looks == [0.0]


def test_a_file_that_is_no_image_is_opened_at_the_first_look_alone(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    opened: list[bytes] = []
    monkeypatch.setattr(discover, "begins_like_an_image", lambda path: bool(opened.append(path)))
    os.utime(put(scene.captures / "s", "1.ann", b"1 2 3"), (1e9, 1e9))
    scene.wait(5)
    assert len(opened) == 1


def test_what_a_cell_costs_does_not_grow_with_the_slide(
    scene: Scene, cells: list[bytes], monkeypatch: pytest.MonkeyPatch
):
    read: list[int] = []
    images, all_cells = SlideLedger.images, SlideLedger.cells

    def counted(ledger: SlideLedger, paths: Iterable[bytes] | None = None) -> dict[bytes, LedgerImage]:
        found = images(ledger, paths)
        read.append(len(found))
        return found

    monkeypatch.setattr(SlideLedger, "images", counted)
    monkeypatch.setattr(SlideLedger, "cells", lambda slide: read.append(ledger_rows()) or all_cells(slide))

    def ledger_rows() -> int:
        return len((scene.out / "s" / "cells.csv").read_text().splitlines()) - 1

    scene.begin(WatchTimings(page=1000))
    for number in range(300):
        put(scene.captures / "s", f"{number}.jpg", cells[number % 32] + b"%d" % number)
    while len(read) < 2 or scene.watch.waiting():
        scene.wait(1)
    assert len(scene.rows("s")) == 300
    assert sum(read) == 300 + 300  # once when they are seen, and once when they have their row


def test_a_page_is_written_a_thirtieth_of_the_time_at_most(
    scene: Scene, cells: list[bytes], monkeypatch: pytest.MonkeyPatch
):
    written: list[float] = []
    write = work.SlideWork.write_summary

    def slow(slide: work.SlideWork) -> Summary:
        written.append(scene.time)
        scene.time += 1
        summary = write(slide)
        slide.page_cost = 1.0
        return summary

    monkeypatch.setattr(work.SlideWork, "write_summary", slow)
    for number in range(100):
        put(scene.captures / "s", f"{number}.jpg", cells[number % 32] + b"%d" % number)
        scene.wait(1)
    assert len(written) > 3
    assert all(later - earlier >= 31 for earlier, later in itertools.pairwise(written))


def test_pages_that_there_is_no_time_for_are_written_at_the_next_start(scene: Scene, cells: list[bytes]):
    for slide in "abc":
        put(scene.captures / slide, "1.jpg", cells[0])
    scene.begin(WatchTimings(page=1000))
    scene.wait(1)
    assert [slide.page_due for slide in scene.watch.slides].count(True) == 2  # one at each step
    scene.watch.finish(0)
    scene.begin()
    scene.wait(4)
    scene.watch.finish()
    assert all('"images": 1' in (scene.out / slide / "summary.json").read_text() for slide in "abc")
