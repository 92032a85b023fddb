import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fakes import of_two_classes
from msgspec import structs
from reviewer import classify, make_slide
from samples import RUN, TIME, a_cell

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.images import thumbnail
from cartcls.runtime.images.discover import readable_name
from cartcls.runtime.inference.predictions import NO_NUMBER
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import Cell, Result
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.reports.page import MAPS, ROWS, reasons, render_page, write_pages
from cartcls.runtime.reports.slide_review import TOO_FEW
from cartcls.runtime.reports.slide_state import SlideState
from cartcls.runtime.reports.summary import CalibrationFacts, summarize


def rendered(bundle: Bundle, *cells: Cell, slide: str = "s-1", waiting: int = 0, **others: Any) -> "Tags":
    alarm = others.get("alarm", "")
    summary = structs.replace(summarize(bundle, replace(RUN, slide=slide), cells, SlideState(waiting, alarm)), **others)
    return Tags(render_page(bundle, "f" * 32, cells, summary, has_maps=True))


class Tags(HTMLParser):
    """Collects a page's tags, attributes, and text outside of scripts."""

    def __init__(self, page: str):
        super().__init__()
        self.page = page
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.inside = ""
        self.feed(page)
        self.text = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.pieces.append(data)


def test_its_script_knows_the_classes_that_are_always_reviewed(shipped: Bundle):
    page = rendered(shipped).page
    found = re.search(r'<script[^>]*id="meta"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    classes = json.loads(found[1])["classes"]
    always = {"basophil", "erythroblast", "ig"}
    assert {entry["name"]: entry["alwaysReview"] for entry in classes} == {
        entry["name"]: entry["name"] in always for entry in classes
    }


def test_a_slide_that_must_be_reviewed_says_so_first(bundle: Bundle):
    cells = [a_cell(1), a_cell(2, status="review", reason="low confidence (0.93 < 0.99)")]
    page = rendered(bundle, *cells, waiting=5)
    assert "PRELIMINARY: 1 cell awaits review." in page.text
    assert "5 images still wait to be classified. Reload the page while cartcls runs;" in page.text
    assert "2 of 7 images, classified by" in page.text
    assert "Only 2 leukocytes" in page.text
    assert page.text.index("This model has no class for blasts") < page.text.index("Blood cells of one slide")
    assert "For research use only" in page.text
    assert "split by image, not by patient" in page.text
    assert page.text.index("PRELIMINARY") < page.text.index("Differential") < page.text.index("Quality")
    assert "PRELIMINARY" not in rendered(bundle, cells[0]).text


def test_a_review_that_is_complete_is_told_with_the_reviewers(bundle: Bundle):
    flagged = a_cell(1, status="review", reason="out of focus")
    done = replace(flagged, corrected_label="monocyte", corrected_by="Bo")
    summaries = {
        "open": [flagged, a_cell(2)],
        "unsure": [replace(done, corrected_label="unsure"), a_cell(2)],
        "done": [done, replace(a_cell(2), corrected_label="lymphocyte", corrected_by="Ada")],
    }
    pages = {name: rendered(bundle, *cells) for name, cells in summaries.items()}
    assert ["Review complete." in page.text for page in pages.values()] == [False, False, True]
    assert "A person has looked at every cell: Ada, Bo." in pages["done"].text
    assert "Reviewed by Ada, Bo Date Signature" in pages["done"].text
    assert "Review complete." not in rendered(bundle, *summaries["done"], waiting=1).text


def test_what_is_expected_stands_beside_what_was_counted(bundle: Bundle):
    cells = [a_cell(seq, "neutrophil") for seq in range(1, 121)] + [a_cell(121, "ig", status="review")]
    page = rendered(bundle, *cells)
    assert "Class Counted Expected Share 95 % interval" in page.text
    assert "immature granulocyte 1 0–1 0.8 % 0.0 – 4.5 %" in page.text
    assert "by the model's errors. Expected is how many cells" in page.text
    alarmed = rendered(bundle, *cells, alarm="colours").text
    assert "Class Cells Share 95 % interval" in alarmed
    assert "(Clopper–Pearson)" in alarmed and "The model's errors are not counted:" in alarmed
    reviewed = replace(cells[-1], corrected_label="ig", corrected_by="Ada")
    done = rendered(bundle, *cells[:-1], reviewed).text
    assert "(Clopper–Pearson)" in done and "errors are not counted" not in done


def test_a_finding_is_told_in_counts_with_what_speaks_against_it(bundle: Bundle):
    cells = [a_cell(seq, "monocyte", status="review") for seq in range(1, 24)]
    cells += [a_cell(24, "lymphocyte", corrected_label="lymphocyte", corrected_by="Ada")]
    cells += [a_cell(25, "monocyte", corrected_label="other: blast", corrected_by="Ada")]
    page = rendered(of_two_classes(bundle), *cells)
    assert "Finding 23 of 25 cells labelled monocyte Without proposals: " in page.text
    assert "Label Cells Bar Without propo\u00adsals lymphocyte 1 1 monocyte 23 0 other: blast 1" in page.text
    assert "2 cells speak against it: 1 lymphocyte , 1 other: blast" in page.text
    assert "lymphocyte · by Ada · no. 24 other: blast · by Ada · no. 25 No interval is given" in page.text
    assert "not the probability of a diagnosis, and not a genetic result." in page.text
    opened = [given for tag, given in page.tags if tag == "a" and given.get("data-seq")]
    assert [(given["data-label"], given["data-seq"]) for given in opened] == [
        ("lymphocyte", "24"),
        ("other: blast", "25"),
    ]
    section = page.page[page.page.index('id="finding"') : page.page.index('id="pictures"')]
    assert not [word for word in (" %", "Share", "leukocyte", "Differential", "<line") if word in section]


def test_few_cells_and_labels_that_mean_nothing_are_no_finding(bundle: Bundle):
    made = of_two_classes(bundle)
    assert "Only 4 cells: a finding needs at least 20." in rendered(made, *(a_cell(seq) for seq in range(1, 5))).text
    field = a_cell(1, status="review", reason="looks like a whole field (size 0.43 > 0.25)")
    nothing = rendered(made, field).text
    assert "its label means nothing" in nothing
    assert "cell labelled" not in nothing and "needs at least" not in nothing
    assert "Finding No cell counted" in rendered(made).text


def test_an_alarm_comes_first_and_withdraws_the_promise(bundle: Bundle):
    facts = CalibrationFacts(1.25, 0.9, 0.01, "at most 1.00%", "calibrate", 640, "fake, f32")
    usual = rendered(bundle, a_cell(1), calibration=facts)
    assert "Estimated, no promise. At most 1.00%." in usual.text
    assert "No alarm: this slide was not found to be unlike" in usual.text
    page = rendered(bundle, a_cell(1, status="review"), alarm="colours", calibration=facts)
    assert "This slide is unlike those that the bundle was calibrated on: colours. Every cell is for" in page.text
    assert page.text.index("Blood cells of one slide") < page.text.index("unlike") < page.text.index("PRELIMINARY")
    assert "Promise withdrawn" in page.text
    assert "Alarm: the colours of too many cells" in page.text
    assert "temperature: 1.25 · review below: 0.9 · guaranteed error: 0.01" in page.text
    without = rendered(bundle, a_cell(1), calibration=structs.replace(facts, guaranteed_error=None))
    assert "review below: 0.9 · guarantee: at most" in without.text


def test_no_banner_contradicts_that_labels_mean_nothing(bundle: Bundle):
    field, unclear = (
        [a_cell(seq, status="review", reason=reason) for seq in (first, first + 1)]
        for first, reason in ((1, "looks like a whole field (size 0.43 > 0.25)"), (3, "out of focus"))
    )
    alone, mixed = rendered(bundle, *field).text, rendered(bundle, *field, *unclear).text
    assert "2 of 2 images look like whole fields of view, not single cells: their labels mean nothing." in alone
    assert "PRELIMINARY: 2 images await review. Counts are given with and without them." in alone
    assert "leukocytes: a differential needs" not in alone
    assert (
        "PRELIMINARY: 4 cells await review. The labels of the other 2 are proposals."
        " Counts are given with and without all 4."
    ) in mixed
    assert "Only 4 leukocytes" in mixed
    assert "Only 3 leukocytes" in rendered(bundle, *field, a_cell(3)).text


def test_too_few_cells_are_no_reason_to_say_that_a_slide_looks_usual(bundle: Bundle):
    page = rendered(bundle, a_cell(1, status="review", reason=TOO_FEW), calibrated=True).text
    assert "No alarm" not in page
    assert "Too few cells to say whether this slide is like those that the bundle was calibrated on." in page
    assert "Too few cells to tell whether this slide is like home: 1 of 0. Every cell is for review." in page


def test_what_was_flagged_is_grouped_by_reason_with_pictures(bundle: Bundle):
    cells = [
        a_cell(1, status="review", reason="low confidence (0.61 < 0.93); out of focus (sharpness 3 < 5)"),
        a_cell(2, status="review", reason="low confidence (0.52 < 0.93)"),
        a_cell(3, status="duplicate", reason="same bytes as a (1); b.jpg"),
        Cell(4, "4.jpg", "rejected", "is empty (0 bytes)", TIME),
    ]
    assert [reasons(cell) for cell in cells] == [
        ["low confidence", "out of focus"],
        ["low confidence"],
        ["same bytes as an earlier cell"],
        ["the file is empty"],
    ]
    assert reasons(Cell(5, "5.jpg", "rejected", NO_NUMBER, TIME)) == [NO_NUMBER]  # which has its own subject
    page = rendered(bundle, *cells)
    assert "2 review: low confidence" in page.text
    assert "1 rejected: the file is empty" in page.text
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert pictures == [f"thumbnails/{seq:06d}.jpg" for seq in (1, 2, 1, 3)]


def test_hostile_text_stays_text(bundle: Bundle):
    name = readable_name(b"</script><img src=x onerror=alert(1)>\"'&.jpg")
    cells = [a_cell(1, path=name, corrected_label="other: <b>", corrected_by="<i>"), a_cell(2)]
    page = rendered(bundle, *cells, Cell(3, name, "rejected", "<script>alert(2)</script>", TIME), slide=name)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert "img" not in {tag for tag, _ in page.tags}
    assert name in page.text
    assert "<script>alert(2)</script>" in page.text
    assert not any(attribute.startswith("on") or attribute == "style" for _, given in page.tags for attribute in given)


def test_only_the_pages_own_script_and_style_may_run(bundle: Bundle):
    page = rendered(bundle, a_cell(1))
    (policy,) = [given["content"] for tag, given in page.tags if given.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self'; ")
    assert "unsafe" not in policy
    for pattern in (r"<style>(.*?)</style>", r"<script>(.*?)</script>"):
        (text,) = re.findall(pattern, page.page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    links = [given.get("src") or given.get("href") or "" for _, given in page.tags]
    assert not [link for link in links if link.startswith(("http", "//"))]


def test_the_files_of_cells_are_text_of_ascii_whatever_is_in_them(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = make_slide(slide, tmp_path / "slide")
    (folder / "cell-03.jpg").rename(folder / "<script>ü\u2028.jpg")
    directory = classify(folder, bundle) / "slide" / "cells"
    rows = (directory / "rows-0000.js").read_bytes()
    assert rows.isascii()
    assert rows.startswith(b"cartcls.rows([[") and rows.endswith(b"]])\n")
    assert any("<script>ü" in row[1] for row in json.loads(rows[13:-2]))
    maps = json.loads((directory / "maps-0000.js").read_bytes()[13:-2])
    assert sorted(map(int, maps)) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    count, height, width, *_ = base64.b64decode(maps["1"])
    assert (count, height, width) == (8, 12, 12)


@pytest.fixture
def many(tmp_path: Path, bundle: Bundle) -> Iterator[tuple[SlideLedger, list[Cell]]]:
    """A slide of more cells than go into one file."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    slide = ledger.add_slide(b"/captures/s", "s")
    slide.begin_run(RUN)
    cells = [a_cell(seq, maps=bytes([8, 1, 1]) + bytes(16)) for seq in range(1, ROWS + 10)]
    slide.discover([b"%d" % cell.seq for cell in cells])
    images = slide.images()
    slide.report([Result(images[b"%d" % c.seq], "reported", None, [c]) for c in cells])
    yield slide, cells
    ledger.close()


def test_one_cell_more_changes_one_file_of_rows_and_one_of_maps(
    many: tuple[SlideLedger, list[Cell]], tmp_path: Path, bundle: Bundle
):
    slide, cells = many
    write_pages(slide, bundle, RUN, tmp_path)
    before = {path: path.stat().st_ino for path in (tmp_path / "cells").iterdir()}
    assert len(before) == 2 + -(-len(cells) // MAPS)
    changed = replace(cells[-1], label="monocyte", maps=bytes([8, 1, 1]) + bytes(range(16)))
    slide.report([Result(slide.images()[b"%d" % changed.seq], "reported", None, [changed])])
    write_pages(slide, bundle, RUN, tmp_path, [changed.seq])
    touched = {path.name for path in before if path.stat().st_ino != before[path]}
    assert touched == {"rows-0001.js", f"maps-{(changed.seq - 1) // MAPS:04d}.js"}
    whole = {path: path.read_bytes() for path in before}
    write_pages(slide, bundle, RUN, tmp_path)
    assert {path: path.read_bytes() for path in before} == whole


def test_colours_are_those_of_the_thumbnails():
    colors = thumbnail.colors()
    assert colors.shape == (256, 3)
    assert colors[0, 2] > colors[0, 0]  # from blue
    assert colors[255, 0] > colors[255, 2]  # to red
