"""Corrections of several slides in one call, and what is said where another command has the ledger."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from reviewer import classify, corrections, make_slide

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import CorrectionError, OutputError
from cartcls.runtime.ledger.folder import existing_ledger, open_ledger
from cartcls.runtime.reports.corrections import correct, correct_all
from cartcls.runtime.reports.page_data import ROW_FIELDS
from cartcls.runtime.reports.rebuild import rebuild_reports, verify_reports


@pytest.fixture
def folder(slide: Path, tmp_path: Path) -> Path:
    return make_slide(slide, tmp_path / "slide")


@pytest.fixture
def out(folder: Path, bundle: Bundle) -> Path:
    return classify(folder, bundle)


def file_of(out: Path, name: str, *changes: tuple[int, str, str]) -> Path:
    """A file of corrections of one of several slides, each with a comment."""
    with existing_ledger(out) as (ledger, bundle):
        (slide,) = [found for found in ledger.slides() if found.slide.name == name]
        digests = {cell.seq: cell.sha256 for cell in slide.cells()}
        lines = ["report,slide,bundle_sha256,seq,sha256,from,to,path,comment"]
        for seq, to, said in changes:
            lines.append(
                f"{slide.slide.report},{name},{bundle.sha256},{seq},{digests[seq]},eosinophil,{to},x.jpg,{said}"
            )
    file = out.parent / f"corrections-{name}.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def shown_comments(out: Path, name: str) -> list[str]:
    """Comments in a slide's table, after they were compared with those of its page."""
    with (out / name / "cells.csv").open(newline="", encoding="utf-8-sig") as table:
        found = [row["comment"] for row in csv.DictReader(table)]
    script = (out / name / "cells" / "rows-0000.js").read_text()
    place = ROW_FIELDS.index("comment")
    assert [row[place] for row in json.loads(script[len("cartcls.rows(") : -2])] == found
    return [text for text in found if text]


@pytest.fixture
def two(out: Path, folder: Path, bundle: Bundle) -> Path:
    """Reports of two slides."""
    shutil.copytree(folder, folder.with_name("other"))
    return classify(folder.with_name("other"), bundle)


def test_files_of_several_slides_are_applied_together_each_with_its_comments(two: Path):
    files = [file_of(two, "slide", (1, "monocyte", "folded")), file_of(two, "other", (2, "basophil", ""))]
    assert [(done.directory.name, done.changed) for done in correct_all(two, files, "Ada")] == [
        ("slide", 1),
        ("other", 1),
    ]
    with existing_ledger(two) as (ledger, _):
        made = [correction for slide in ledger.slides() for correction in slide.corrections()]
    assert [(found.to_label, found.comment) for found in made] == [("monocyte", "folded"), ("basophil", "")]
    assert [(done.changed, done.already) for done in correct_all(two, files, "Ada")] == [(0, 1), (0, 1)]
    assert not any(slide.differences for slide in verify_reports(two))
    assert (shown_comments(two, "slide"), shown_comments(two, "other")) == (["folded"], [])


def test_a_comment_on_a_label_that_is_there_already_is_kept_once(out: Path):
    first = file_of(out, "slide", (1, "monocyte", ""), (2, "basophil", "dark"))
    correct(out, first, "Ada")
    first = first.rename(first.with_name("first.csv"))
    later = file_of(out, "slide", (1, "monocyte", "folded"), (2, "basophil", "many granules"))
    done = correct(out, later, "Bo")
    assert (done.changed, done.confirmed, done.already) == (0, 2, 0)
    assert shown_comments(out, "slide") == ["folded", "many granules"]
    for file in (later, first):  # the older one has nothing that was not said before
        done = correct(out, file, "Ada")
        assert (done.changed, done.confirmed, done.already) == (0, 0, 2)
    assert shown_comments(out, "slide") == ["folded", "many granules"]
    with existing_ledger(out) as (ledger, _):
        made = ledger.slides()[0].corrections()
    assert [(found.from_label, found.to_label, found.corrected_by, found.comment) for found in made] == [
        ("eosinophil", "monocyte", "Ada", ""),
        ("eosinophil", "basophil", "Ada", "dark"),
        ("monocyte", "monocyte", "Bo", "folded"),
        ("basophil", "basophil", "Bo", "many granules"),
    ]
    assert not any(slide.differences for slide in verify_reports(out))


def test_one_file_that_does_not_fit_keeps_all_from_being_applied(two: Path):
    files = [file_of(two, "slide", (1, "monocyte", "")), file_of(two, "other", (2, "nonsense", ""))]
    with pytest.raises(CorrectionError, match="corrections-other"):
        correct_all(two, files, "Ada")
    with existing_ledger(two) as (ledger, _):
        assert not any(slide.corrections() for slide in ledger.slides())
    with pytest.raises(CorrectionError, match="its comment has up to"):
        correct_all(two, [file_of(two, "slide", (1, "monocyte", "x" * 501))], "Ada")


def test_who_has_the_ledger_is_said_and_what_to_do(out: Path, bundle: Bundle, tmp_path: Path):
    file = corrections(out, (1, "monocyte"))
    for command, said in (
        ("watch", rf"\(watch, process {os.getpid()}\).*: stop it, run this command, and start it again"),
        ("batch", r"\(batch, process \d+\): run this command when it has ended"),
        ("rebuild", r"\(rebuild, process \d+\): try again when it has ended"),
    ):
        with open_ledger(out, bundle, command=command):
            for act in (lambda: correct(out, file, "Ada"), lambda: verify_reports(out), lambda: rebuild_reports(out)):
                with pytest.raises(OutputError, match=said):
                    act()
