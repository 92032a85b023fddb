import errno
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from cartcls.runtime.errors import OutputError
from cartcls.runtime.images.decode import Fingerprint
from cartcls.runtime.ledger import ledger as ledgers
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import Cell, Correction
from cartcls.runtime.ledger.schema import Cursor, Result, Slide

TIME = "2026-01-02T03:04:05Z"
PRINT = Fingerprint(10, 20, 30)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def reported(image: int, seq: int, label: str = "ig", line: str = "") -> Result:
    cell = Cell(seq, f"{image}.jpg", "ok", "", TIME, label, (0.25, 0.75), f"thumbnails/{seq}.jpg", "0" * 64, 3, 4)
    return Result(image, "reported", PRINT, cell, line or f"{seq},{label}\n")


def slide_with(ledger: Ledger, *paths: bytes) -> tuple[Slide, dict[bytes, int]]:
    slide = ledger.add_slide(b"/captures/s\xff", "s")
    ledger.discover(slide, paths)
    return slide, {path: known.id for path, known in ledger.images(slide).items()}


def test_an_image_goes_its_way_and_is_still_there_when_opened_again(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a.jpg", b"\xff\n.jpg")
        ledger.begin(ids.values())
        ledger.report(slide, [reported(ids[b"a.jpg"], 1)])
    with Ledger(file) as ledger:
        assert ledger.slides() == [slide]
        images = ledger.images(slide)
        assert (images[b"a.jpg"].state, images[b"a.jpg"].seq, images[b"a.jpg"].fingerprint) == ("reported", 1, PRINT)
        assert (images[b"\xff\n.jpg"].state, images[b"\xff\n.jpg"].attempts) == ("seen", 1)
        assert [cell.label for cell in ledger.cells(slide)] == ["ig"]
        assert next(ledger.cells(slide)).probabilities == (0.25, 0.75)
        assert ledger.next_seq(slide) == 2


def test_what_was_seen_before_is_not_seen_anew(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        ledger.report(slide, [reported(ids[b"a"], 1)])
        ledger.forget([ids[b"b"]])
        slide, _ = slide_with(ledger, b"a", b"b", b"c")
        states = {path: known.state for path, known in ledger.images(slide).items()}
        assert states == {b"a": "reported", b"b": "seen", b"c": "seen"}
        assert len(ledger.slides()) == 1
        assert len(ledger.slides()[0].report) == 32


def test_an_image_that_has_a_row_and_is_seen_again_is_not_waiting_for_one(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        ledger.report(slide, [reported(ids[b"a"], 1)])
        ledger.supersede([ids[b"a"]])
        assert ledger.waiting(slide) == 1
        assert ledger.passing(slide) == {1}


def test_attempts_are_counted_through_crashes_and_forgotten_by_a_patient_retry(file: Path):
    for attempt in (1, 2, 3):
        with Ledger(file) as ledger:  # each time the process ends here
            slide, ids = slide_with(ledger, b"a")
            ledger.begin(ids.values())
            assert ledger.images(slide)[b"a"].attempts == attempt
    with Ledger(file) as ledger:
        ledger.postpone(ids.values())
        assert ledger.images(slide)[b"a"].attempts == 0
        assert ledger.images(slide)[b"a"].state == "retry"
    with Ledger(file) as ledger:
        assert ledger.images(slide)[b"a"].state == "seen"


def test_a_newer_row_takes_the_place_of_the_older_which_stays_in_the_history(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        ledger.report(slide, [reported(ids[b"a"], 1), reported(ids[b"b"], 2)])
        ledger.move_cursor(slide, Cursor(1, 100, stale=False))
        ledger.report(slide, [reported(ids[b"b"], 2, "monocyte")])
        assert not ledger.cursor(slide).stale  # row 2 is not in the CSV yet
        ledger.supersede([ids[b"a"]])
        ledger.report(slide, [reported(ids[b"a"], 1, "platelet")])
        assert ledger.cursor(slide) == Cursor(1, 100, stale=True)
        assert list(ledger.lines(slide)) == ["1,platelet\n", "2,monocyte\n"]
        assert list(ledger.lines(slide, after=1)) == ["2,monocyte\n"]
        assert ledger.next_seq(slide) == 3
    versions = sqlite3.connect(file).execute("SELECT seq, version, line FROM cells ORDER BY seq, version").fetchall()
    assert versions == [(1, 1, "1,ig\n"), (1, 2, "1,platelet\n"), (2, 1, "2,ig\n"), (2, 2, "2,monocyte\n")]


def test_a_transaction_happens_whole_or_not_at_all(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        broken = Result(ids[b"b"], "reported", PRINT, object(), "")  # type: ignore[arg-type]
        with pytest.raises(AttributeError):
            ledger.report(slide, [reported(ids[b"a"], 1), broken])
        assert not list(ledger.cells(slide))
        assert ledger.images(slide)[b"a"].state == "seen"


def test_a_disk_that_fails_is_not_taken_for_a_full_one(file: Path):
    class Failing:
        in_transaction = False

        def __init__(self, problem: str):
            self.problem = problem

        def execute(self, statement: str) -> None:
            raise sqlite3.OperationalError(self.problem)

        def close(self) -> None:
            pass

    for problem, number in (("disk I/O error", errno.EIO), ("database or disk is full", errno.ENOSPC)):
        with Ledger(file) as ledger:
            ledger._database.close()
            ledger._database = Failing(problem)  # type: ignore[assignment]
            with pytest.raises(OSError, match=re.escape(problem)) as raised:
                ledger.postpone([1])
        assert raised.value.errno == number


def test_heat_maps_are_kept_apart_and_go_with_the_present_row(file: Path):
    with Ledger(file) as ledger:
        slide, ids = slide_with(ledger, b"a", b"b")
        assert not ledger.has_maps(slide)
        results = [reported(ids[b"a"], 1), reported(ids[b"b"], 2)]
        ledger.report(slide, [replace(r, cell=replace(r.cell, maps=b"%d" % r.cell.seq)) for r in results])
        assert ledger.has_maps(slide)
        assert ledger.maps(slide, 1, 2) == {1: b"1", 2: b"2"}
        assert [cell.maps for cell in ledger.cells(slide)] == [b"", b""]
        ledger.correct(slide, [Correction(2, "0" * 64, "ig", "monocyte", "Ada", TIME)], [(results[1].cell, "2,ig\n")])
        assert ledger.maps(slide, 2, 2) == {2: b"2"}
        ledger.report(slide, [results[0]])
        assert ledger.maps(slide, 1, 2) == {2: b"2"}


def test_slides_are_apart(file: Path):
    with Ledger(file) as ledger:
        first, ids = slide_with(ledger, b"a")
        second = ledger.add_slide(b"/captures/other", "other")
        ledger.discover(second, [b"a"])
        ledger.report(first, [reported(ids[b"a"], 1)])
        assert ledger.images(second)[b"a"].state == "seen"
        assert ledger.next_seq(second) == 1
        assert not list(ledger.lines(second))


def test_it_is_as_durable_as_sqlite_can_be(file: Path):
    with Ledger(file) as ledger:
        database = ledger._database
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_what_cannot_be_a_ledger_is_a_clear_error(file: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_bytes(b"junk" * 1000)
    with pytest.raises(OutputError, match=r"cannot be used .* move it away"):
        Ledger(file)
    file.unlink()
    Ledger(file).close()
    database = sqlite3.connect(file)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(OutputError, match="another version"):
        Ledger(file)
    monkeypatch.setattr(ledgers, "file_system", lambda folder: "cifs")
    with pytest.raises(OutputError, match=r"network share \(cifs\)"):
        Ledger(file)


def test_a_damaged_ledger_is_found_at_once(file: Path):
    with Ledger(file) as ledger:
        slide_with(ledger, *(b"%d.jpg" % number for number in range(2000)))
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4096] = b"\xff" * 4096
    file.write_bytes(data)
    with pytest.raises(OutputError, match=r"ledger\.sqlite (is damaged|cannot be used)"):
        Ledger(file)
