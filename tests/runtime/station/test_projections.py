"""Reports on the disk follow what was done at the station, whoever writes them."""

import csv
import errno
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from asking import Browser, label, revision, see
from reviewer import classify

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger import folder as folders
from cartcls.runtime.ledger.folder import REVIEW, existing_ledger, open_ledger, review_ledger, watch_has_stopped
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.reports.rebuild import rebuild_reports, verify_reports
from cartcls.runtime.station.projections import find_due, write_reports
from cartcls.runtime.station.serve import write_due


def relabel(browser: Browser, slide: int = 1) -> None:
    row = browser.client.get(f"/slides/{slide}/rows/0").json()[0]
    wish = {"seq": 1, "sha256": row[8], "base": row[-1], "to": "monocyte", "by": "Anna"}
    assert browser.client.post(f"/slides/{slide}/corrections", json=wish).status_code == 200


def label_in_table(out: Path, name: str = "slide") -> str:
    with (out / name / "cells.csv").open(newline="", encoding="utf-8-sig") as file:
        return next(csv.DictReader(file))["label"]


def test_the_station_writes_them_where_nobody_else_does(browser: Browser, out: Path):
    relabel(browser)
    assert label_in_table(out) == "eosinophil"
    assert browser.desk.due == {1}
    assert write_reports(browser.desk)
    assert browser.desk.due == set()
    assert label_in_table(out) == "monocyte"
    assert json.loads((out / "slide" / "summary.json").read_text())["reviewers"] == ["Anna"]
    assert [slide.differences for slide in verify_reports(out)] == [[]]


def test_a_comment_is_in_the_table_until_its_label_is_taken_back(browser: Browser, out: Path):
    assert label(browser.client, 1, "monocyte", comment="3 lobes, <b>n</b>").status_code == 200
    for said in ("3 lobes, <b>n</b>", ""):
        assert write_reports(browser.desk)
        with (out / "slide" / "cells.csv").open(newline="", encoding="utf-8-sig") as file:
            assert next(csv.DictReader(file))["comment"] == said
        assert [slide.differences for slide in verify_reports(out)] == [[]]
        assert label(browser.client, 1, None).status_code == 200


def test_what_the_station_writes_itself_is_no_change_of_the_slide(browser: Browser):
    relabel(browser)
    see(browser.client)
    seen = revision(browser.client)
    assert write_reports(browser.desk)
    wish = {"label": "eosinophil", "by": "Anna", "revision": seen}
    assert browser.client.post("/slides/1/bulk", json=wish).json() == {"confirmed": 7}
    seen = revision(browser.client)
    assert write_reports(browser.desk)
    answer = browser.client.post("/slides/1/signatures", json={"by": "Anna", "revision": seen})
    assert answer.status_code == 200
    seen, page = revision(browser.client), browser.client.get("/slides/1/").text
    assert write_reports(browser.desk)
    assert (revision(browser.client), browser.client.get("/slides/1/").text) == (seen, page)


def test_typed_facts_are_in_summary_and_page_also_when_they_are_rebuilt(browser: Browser, out: Path):
    told = {"by": "Anna", "info": {"sample": "26-0815", "white_count": 10.0}}
    seen = browser.client.get("/slides/1/state").json()["revision"]
    assert browser.client.post("/slides/1/facts", json={**told, "revision": seen}).status_code == 200
    with review_ledger(out) as (ledger, _):
        os.utime(out / "slide" / "report.html", (1, 1))
        assert find_due(ledger, out) == {1}
    assert write_reports(browser.desk)
    for _ in range(2):
        summary = json.loads((out / "slide" / "summary.json").read_text())
        assert summary["info"] == told["info"] and summary["info_typed_by"] == "Anna"
        assert summary["absolute_counts"]["white_count"] == 10.0
        page = (out / "slide" / "report.html").read_text(encoding="utf-8")
        assert "26-0815" in page and "Typed by Anna" in page and 'id="info"' not in page
        rebuild_reports(out)


def test_it_leaves_them_to_who_has_the_ledger(browser: Browser, out: Path, bundle: Bundle):
    relabel(browser)
    with open_ledger(out, bundle):
        assert not write_reports(browser.desk)
        assert browser.desk.due == {1}


def test_what_keeps_reports_from_being_written_is_told_unless_another_process_has_them(
    browser: Browser, out: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    told: list[str] = []
    relabel(browser)
    with open_ledger(out, bundle):
        write_due(browser.desk, told.append)
    assert (told, browser.desk.due) == ([], {1})

    def fail(ledger: Ledger) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "take_corrections", fail)
        for _ in range(2):
            write_due(browser.desk, told.append)
    assert browser.desk.due == {1}
    (said,) = told
    assert "cannot be written: No space left on device; labels are in the ledger" in said
    assert said in browser.client.get("/slides/1/state").json()["banners"] and said in browser.client.get("/").text
    write_due(browser.desk, told.append)
    assert browser.client.get("/slides/1/state").json()["banners"] == []
    assert (len(told), browser.desk.due, label_in_table(out)) == (1, set(), "monocyte")


def test_a_slide_whose_folder_cannot_be_written_does_not_hold_up_the_others(
    browser: Browser, out: Path, bundle: Bundle
):
    classify(Path(shutil.copytree(out.parent / "slide", out.parent / "other")), bundle)
    for number in (1, 2):
        relabel(browser, number)
    shutil.move(out / "slide", out / "away")
    (out / "slide").write_text("in the way")
    told: list[str] = []
    for _ in range(2):
        write_due(browser.desk, told.append)
    assert (browser.desk.due, label_in_table(out, "other")) == ({1}, "monocyte")
    (said,) = told
    assert f"cannot be written now: {out / 'slide'} cannot be written: " in said
    (out / "slide").unlink()
    shutil.move(out / "away", out / "slide")
    write_due(browser.desk, told.append)
    assert (len(told), browser.desk.due, label_in_table(out)) == (1, set(), "monocyte")


def test_the_next_station_writes_what_a_killed_one_left(browser: Browser, out: Path):
    os.utime(out / "slide" / "report.html", (2e9, 2e9))
    with review_ledger(out) as (ledger, _):
        assert find_due(ledger, out) == set()
    os.utime(out / "slide" / "report.html", (1, 1))
    relabel(browser)
    with review_ledger(out) as (ledger, _):
        assert find_due(ledger, out) == {1}


def test_a_table_that_only_lacks_corrections_is_no_difference(browser: Browser, out: Path):
    relabel(browser)
    assert [slide.differences for slide in verify_reports(out)] == [[]]
    assert label_in_table(out) == "monocyte"


def test_a_watch_that_begins_waits_until_the_station_has_written(out: Path, bundle: Bundle):
    writing, done = threading.Event(), threading.Event()

    def write() -> None:
        with existing_ledger(out, REVIEW):
            writing.set()
            done.wait(60)

    station = threading.Thread(target=write)
    station.start()
    writing.wait(60)
    threading.Timer(2 * folders.SHORT, done.set).start()
    with open_ledger(out, bundle, command="watch"):
        assert done.is_set()
    station.join()


def test_it_is_known_that_a_watch_has_stopped(out: Path, bundle: Bundle):
    assert not watch_has_stopped(out)  # there was none
    with open_ledger(out, bundle, command="watch"):
        assert not watch_has_stopped(out)
    assert watch_has_stopped(out)
    with existing_ledger(out, REVIEW):
        pass
    assert watch_has_stopped(out)  # a station that writes is no watch
