import os
import shutil
from pathlib import Path

import pytest
from fakes import FakeBackend

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.reports.rebuild import rebuild_reports, verify_reports
from cartcls.runtime.slides.batch import classify_slide


@pytest.fixture
def out(slide: Path, tmp_path: Path, bundle: Bundle) -> Path:
    """Reports of two slides."""
    other = Path(shutil.copytree(slide, tmp_path / "other"))
    (other / "broken.jpg").write_bytes(b"junk")
    with open_ledger(tmp_path / "out", bundle) as ledger:
        for folder in (slide, other):
            classify_slide(folder, tmp_path / "out", Classifier(bundle, FakeBackend()), ledger)
    return tmp_path / "out"


def test_reports_as_they_were_written_are_verified(out: Path):
    found = verify_reports(out)
    assert [(slide.file.parent.name, slide.rows, slide.differences) for slide in found] == [
        ("slide-01", 32, []),
        ("other", 33, []),
    ]


def test_an_edited_row_is_named_and_written_again_byte_for_byte(out: Path):
    names = ("cells.csv", "summary.json", "report.html")
    before = {path: path.read_bytes() for slide in ("slide-01", "other") for path in (out / slide / n for n in names)}
    table = out / "other" / "cells.csv"
    lines = table.read_text().splitlines(keepends=True)
    lines[5] = lines[5].replace("eosinophil", "platelet")
    table.write_text("".join(lines))
    (out / "slide-01" / "cells.csv").unlink()
    for slide in ("slide-01", "other"):
        (out / slide / "report.html").write_text("")
    first, second = verify_reports(out)
    assert len(first.differences) == 33
    assert {difference.problem for difference in first.differences} == {"missing"}
    assert [(difference.line, difference.problem) for difference in second.differences] == [(6, "edited")]
    assert rebuild_reports(out) == [out / "slide-01", out / "other"]
    assert {path: path.read_bytes() for path in before} == before
    assert not any(slide.differences for slide in verify_reports(out))


def test_a_slide_that_was_hardly_begun_does_not_stop_the_others(out: Path, bundle: Bundle):
    with open_ledger(out, bundle) as ledger:
        ledger.add_slide(b"/captures/third", "third")
    assert rebuild_reports(out) == [out / "slide-01", out / "other"]
    assert len(verify_reports(out)) == 2


def test_slides_that_were_started_anew_are_known_by_their_new_report_alone(slide: Path, out: Path, bundle: Bundle):
    other = {path: path.read_bytes() for path in (out / "other").rglob("*") if path.is_file()}
    with open_ledger(out, bundle, [slide]) as ledger:
        classify_slide(slide, out, Classifier(bundle, FakeBackend()), ledger)
    assert {path: path.read_bytes() for path in other} == other
    (before,) = out.glob("before-*/slide-01")
    assert {path.name for path in before.iterdir()} >= {"cells.csv", "report.html", "thumbnails"}
    assert [(found.file, found.rows, found.differences) for found in verify_reports(out)] == [
        (out / "other" / "cells.csv", 33, []),
        (out / "slide-01" / "cells.csv", 32, []),
    ]
    assert rebuild_reports(out) == [out / "other", out / "slide-01"]


@pytest.mark.parametrize("by", ["a rebuild", "the next run"])
def test_what_a_killed_process_left_is_removed(slide: Path, out: Path, bundle: Bundle, by: str):
    places = ("", "cells", "thumbnails") if by == "the next run" else ("", "cells")
    left = [out / "slide-01" / place / f".unfinished-x-{os.getpid()}" for place in places]  # as in a container
    for file in left:
        file.touch()
    if by == "a rebuild":
        rebuild_reports(out)
    else:
        with open_ledger(out, bundle) as ledger:
            classify_slide(slide, out, Classifier(bundle, FakeBackend()), ledger)
    assert not any(file.exists() for file in left)
