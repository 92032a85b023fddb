import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from samples import RUN, TIME, a_cell

from cartcls.runtime.images.decode import Fingerprint
from cartcls.runtime.ledger.database import Database, Value
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import Correction, Cursor, LedgerImage, Result
from cartcls.runtime.ledger.slide_ledger import SlideLedger

PRINT = Fingerprint(10, 20, 25, 30)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def reported(image: LedgerImage, seq: int, label: str = "ig") -> Result:
    return Result(image, "reported", PRINT, [a_cell(seq, label)])


def slide_with(ledger: Ledger, *paths: bytes) -> tuple[SlideLedger, dict[bytes, LedgerImage]]:
    slide = ledger.add_slide(b"/captures/s\xff", "s")
    if slide.last_run() is None:
        slide.begin_run(RUN)
    slide.discover(paths)
    return slide, slide.images()


def labels(slide: SlideLedger, after: int = 0) -> list[tuple[int, str | None]]:
    return [(cell.seq, cell.label) for cell, _ in slide.rows(after)]


def test_an_image_goes_its_way_and_is_still_there_when_opened_again(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a.jpg", b"\xff\n.jpg")
        slide.begin(ids.values())
        slide.report([reported(ids[b"a.jpg"], 1)])
    with Ledger(file) as ledger:
        assert [found.slide for found in ledger.slides()] == [slide.slide]
        (slide,) = ledger.slides()
        images = slide.images()
        assert (images[b"a.jpg"].state, images[b"a.jpg"].seq, images[b"a.jpg"].fingerprint) == ("reported", 1, PRINT)
        assert (images[b"\xff\n.jpg"].state, images[b"\xff\n.jpg"].attempts) == ("seen", 1)
        assert list(slide.cells()) == [a_cell(1, "ig")]
        assert slide.next_seq() == 2


def test_what_was_seen_before_is_not_seen_anew(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        slide.report([reported(ids[b"a"], 1)])
        slide.mark_vanished([ids[b"b"]])
        slide, _ = slide_with(ledger, b"a", b"b", b"c")
        states = {path: known.state for path, known in slide.images().items()}
        assert states == {b"a": "reported", b"b": "seen", b"c": "seen"}
        assert len(ledger.slides()) == 1
        assert len(ledger.slides()[0].slide.report) == 32


def test_an_image_that_has_a_row_and_is_seen_again_is_not_waiting_for_one(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        slide.report([reported(ids[b"a"], 1)])
        slide.requeue([ids[b"a"]])
        assert slide.waiting() == 1
        assert slide.rows_to_be_replaced() == {1}


def test_attempts_are_counted_through_crashes_and_forgotten_by_a_patient_retry(file: Path):
    for attempt in (1, 2, 3):
        with Ledger(file) as ledger:  # each time the process ends here
            slide, ids = slide_with(ledger, b"a")
            slide.begin(ids.values())
            assert slide.images()[b"a"].attempts == attempt
    with Ledger(file) as ledger:
        (slide,) = ledger.slides()
        slide.postpone(ids.values())
        assert slide.images()[b"a"].attempts == 0
        assert slide.images()[b"a"].state == "retry"
    with Ledger(file) as ledger:
        (slide,) = ledger.slides()
        assert slide.images()[b"a"].state == "seen"


def test_a_newer_row_takes_the_place_of_the_older_which_stays_in_the_history(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        slide.report([reported(ids[b"a"], 1), reported(ids[b"b"], 2)])
        slide.move_cursor(Cursor(1, 100, stale=False))
        slide.report([reported(ids[b"b"], 2, "monocyte")])
        assert not slide.cursor().stale  # row 2 is not in the CSV yet
        slide.requeue([ids[b"a"]])
        slide.report([reported(ids[b"a"], 1, "platelet")])
        assert slide.cursor() == Cursor(1, 100, stale=True)
        assert labels(slide) == [(1, "platelet"), (2, "monocyte")]
        assert labels(slide, after=1) == [(2, "monocyte")]
        assert slide.next_seq() == 3
    versions = sqlite3.connect(file).execute("SELECT seq, version, label FROM cells ORDER BY seq, version").fetchall()
    assert versions == [(1, 1, "ig"), (1, 2, "platelet"), (2, 1, "ig"), (2, 2, "monocyte")]


def test_a_transaction_happens_whole_or_not_at_all(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        broken = Result(ids[b"b"], "reported", PRINT, [object()])  # type: ignore[list-item]
        with pytest.raises(AttributeError):
            slide.report([reported(ids[b"a"], 1), broken])
        assert not list(slide.cells())
        assert slide.images()[b"a"].state == "seen"


def test_heat_maps_are_kept_apart_and_go_with_the_present_row(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        assert not slide.has_maps()
        results = [reported(ids[b"a"], 1), reported(ids[b"b"], 2)]
        slide.report([replace(r, cells=[replace(r.cells[0], maps=b"%d" % r.cells[0].seq)]) for r in results])
        assert slide.has_maps()
        assert slide.maps(1, 2) == {1: b"1", 2: b"2"}
        assert [cell.maps for cell in slide.cells()] == [b"", b""]
        slide.correct([Correction(2, "0" * 64, "ig", "monocyte", "Ada", TIME)], results[1].cells)
        assert slide.maps(2, 2) == {2: b"2"}
        slide.report([results[0]])
        assert slide.maps(1, 2) == {2: b"2"}


def test_a_row_keeps_the_run_that_made_it_through_a_correction(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        results = [reported(ids[b"a"], 1), reported(ids[b"b"], 2)]
        slide.report(results[:1])
        later = replace(RUN, backend="tensorrt", version="9")
        slide.begin_run(later)
        slide.report(results[1:])
        slide.correct([Correction(1, "0" * 64, "ig", "monocyte", "Ada", TIME)], results[0].cells)
        assert [run for _, run in slide.rows()] == [RUN, later]
        assert slide.last_run() == later


def test_an_image_may_have_many_rows(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        slide.report([reported(ids[b"a"], 1), reported(ids[b"a"], 2), reported(ids[b"b"], 3)])
        assert [image.seq for image in slide.images().values()] == [1, 3]
        slide.requeue([ids[b"a"]])
        assert slide.rows_to_be_replaced() == {1, 2}


def test_slides_are_apart(file: Path):
    with Ledger(file) as ledger:
        first, ids = slide_with(ledger, b"a")
        second = ledger.add_slide(b"/captures/other", "other")
        second.discover([b"a"])
        first.report([reported(ids[b"a"], 1)])
        assert second.images()[b"a"].state == "seen"
        assert second.next_seq() == 1
        assert not list(second.rows())


def test_images_exchange_their_paths_with_their_rows_at_once_or_not_at_all(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b", b"c")
        slide.report([reported(ids[b"a"], 1), reported(ids[b"b"], 2, "monocyte")])
        later = Fingerprint(11, 21, 26, 31)
        images = [replace(ids[b"a"], path=b"b", state="reported", fingerprint=later), replace(ids[b"b"], path=b"c")]
        with pytest.raises(AttributeError):
            slide.rearrange(images, [object()], [ids[b"c"]])  # type: ignore[list-item]
        assert {path: image.id for path, image in slide.images().items()} == {p: i.id for p, i in ids.items()}
        slide.rearrange(images, [replace(a_cell(1, "ig"), path="b")], [ids[b"c"]])
        now = slide.images()
        assert (now.keys(), now[b"b"].seq, now[b"c"].seq) == ({b"b", b"c"}, 1, 2)
        assert now[b"b"].fingerprint == later
        assert [(cell.seq, cell.path) for cell in slide.cells()] == [(1, "b"), (2, "2.jpg")]
        assert [cell.path for cell in slide.rows_of(now[b"b"].id)] == ["b"]


def test_rows_are_found_by_their_bytes_and_as_they_were_last_counted(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        first, second = a_cell(1, "ig"), replace(a_cell(2, "ig"), sha256=a_cell(1).sha256, status="duplicate")
        slide.report([Result(ids[b"a"], "reported", PRINT, [first]), Result(ids[b"b"], "reported", PRINT, [second])])
        gone = [replace(cell, status="gone") for cell in (first, second)]
        slide.rearrange([replace(image, state="gone") for image in slide.images().values()], gone)
        assert [(image.path, cell) for image, cell in slide.same_bytes(first.sha256 or "")] == [
            (b"a", gone[0]),
            (b"b", gone[1]),
        ]
        assert [slide.last_counted(cell) for cell in gone] == [first, None]
        assert (slide.count(), slide.same_bytes("0")) == (0, [])
        slide.discover([b"a"])
        assert slide.images()[b"a"].state == "gone"


def test_rows_of_one_cell_or_of_some_bytes_are_found_without_reading_the_slide(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    plans, execute = list[str](), Database.execute

    def explained(self: Database, statement: str, values: Iterable[Value] = ()) -> sqlite3.Cursor:
        given = tuple(values)
        plans.extend(plan[3] for plan in execute(self, f"EXPLAIN QUERY PLAN {statement}", given))
        return execute(self, statement, given)

    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a")
        slide.report([reported(ids[b"a"], 1)])
        monkeypatch.setattr(Database, "execute", explained)
        slide.same_cells_as([1])
        slide.same_bytes("aa")
        slide.rows_of(1)
    assert [plan for plan in plans if "cells" in plan and "(slide=?)" in plan] == []
