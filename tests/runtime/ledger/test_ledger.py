import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError
from cartcls.runtime.ledger.ledger import Ledger


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_it_remembers_the_bundle_that_all_rows_are_by_and_takes_no_other(file: Path, bundle: Bundle):
    with Ledger(file) as ledger:
        assert ledger.bundle() is None
        ledger.bind(bundle)
    with Ledger(file) as ledger:
        ledger.bind(bundle)
        remembered = ledger.bundle()
        assert remembered is not None
        assert (remembered.manifest, remembered.sha256) == (bundle.manifest, bundle.sha256)
        assert remembered.directory == Path(bundle.name)
        with pytest.raises(OutputError, match=r"by another bundle .* name another folder with --out"):
            ledger.bind(replace(bundle, sha256="0" * 64))


def test_a_folder_that_is_known_keeps_its_slide_and_its_name(file: Path):
    with Ledger(file) as ledger:
        first, second = ledger.add_slide(b"/captures/s\xff", "s"), ledger.add_slide(b"/captures/t", "t")
        assert ledger.add_slide(b"/captures/s\xff", "another").slide == first.slide
        assert [found.slide for found in ledger.slides()] == [first.slide, second.slide]
        assert {len(found.slide.report) for found in ledger.slides()} == {32}
        assert first.slide.report != second.slide.report


def test_what_was_under_way_when_the_process_ended_is_waiting_again(file: Path):
    with Ledger(file) as ledger:
        slide = ledger.add_slide(b"/captures/s", "s")
        slide.discover([b"begun", b"postponed", b"gone"])
        images = slide.images()
        slide.begin([images[b"begun"]])
        slide.postpone([images[b"postponed"]])
        slide.mark_vanished([images[b"gone"]])
        states = {path: image.state for path, image in slide.images().items()}
        assert states == {b"begun": "queued", b"postponed": "retry", b"gone": "vanished"}
    with Ledger(file) as ledger:
        (slide,) = ledger.slides()
        states = {path: image.state for path, image in slide.images().items()}
        assert states == {b"begun": "seen", b"postponed": "seen", b"gone": "vanished"}


def test_what_nothing_fills_yet_has_its_place(file: Path):
    with Ledger(file) as ledger:
        ledger.add_slide(b"/captures/s", "s")
    database = sqlite3.connect(file)
    columns = {row[1] for row in database.execute("PRAGMA table_info(cells)")}
    assert {"part", "x", "y", "w", "h", "scale", "mpp", "at_edge", "box_x", "box_y", "box_w", "box_h"} <= columns
    assert database.execute("SELECT state, facts, alarm FROM slides").fetchone() == ("open", "{}", "")
    assert database.execute("SELECT count(*) FROM signatures").fetchone() == (0,)
    database.close()
