import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from samples import RUN, a_cell

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.facts import Facts
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import Cell, FieldRecord, LedgerImage, Result
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.reports.page import ROWS, render_page, write_pages
from cartcls.runtime.reports.slide_state import SlideState
from cartcls.runtime.reports.summary import summarize

FIELDS = Facts(fields=True, diameter=90.75, origin="red cells")
SMUDGES = ((5, 6, 7, 8), (50, 60, 70, 80))


def cells_of_field(first: int, count: int) -> list[Cell]:
    return [
        a_cell(first + place, path=f"{first}.png", part=place + 1, x=10 * place, y=2, w=9, h=8)
        for place in range(count)
    ]


def report(slide: SlideLedger, image: LedgerImage, cells: list[Cell]) -> None:
    slide.report([Result(image, "reported", None, cells, FieldRecord(640, 480, SMUDGES, b""))])


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[SlideLedger]:
    """Three fields; the cells of the second begin in the first file of data, and end in the next."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        slide = ledger.add_slide(b"/captures/s", "s")
        slide.begin_run(RUN)
        slide.settle(FIELDS)
        names = [b"1.png", b"%d.png" % (ROWS - 1), b"%d.png" % (ROWS + 3)]
        slide.discover(names)
        images = slide.images()
        for name, first, count in zip(names, (1, ROWS - 1, ROWS + 3), (ROWS - 2, 4, 2), strict=True):
            report(slide, images[name], cells_of_field(first, count))
        yield slide


def data(directory: Path, chunk: int) -> list[list[object]]:
    return json.loads((directory / "cells" / f"fields-{chunk:04d}.js").read_text()[len("cartcls.fields(") : -2])


def test_a_field_is_in_the_file_of_its_first_row(slide: SlideLedger, tmp_path: Path, bundle: Bundle):
    write_pages(slide, bundle, RUN, tmp_path)
    first, second = data(tmp_path, 0), data(tmp_path, 1)
    smudges = [list(box) for box in SMUDGES]
    assert first[1] == [f"fields/{ROWS - 1:06d}.jpg", 640, 480, smudges, list(range(ROWS - 1, ROWS + 3))]
    assert [len(first), len(second)] == [2, 1]
    assert second[0][4] == [ROWS + 3, ROWS + 4]
    rows = (tmp_path / "cells" / "rows-0001.js").read_text()
    assert json.loads(rows[len("cartcls.rows(") : -2])[0][-5:] == [3, [20, 2, 9, 8], None, None, ""]


@pytest.mark.parametrize(
    ("seq", "touched"), [(2, {"fields-0000.js"}), (ROWS + 1, {"fields-0000.js"}), (ROWS + 3, set())]
)
def test_files_of_fields_are_written_where_one_changed(
    slide: SlideLedger, tmp_path: Path, bundle: Bundle, seq: int, touched: set[str]
):
    write_pages(slide, bundle, RUN, tmp_path)
    before = {path: path.stat().st_ino for path in (tmp_path / "cells").glob("fields-*.js")}
    place = 0 if seq < ROWS - 1 else 1
    image = slide.images()[[b"1.png", b"%d.png" % (ROWS - 1)][place]]
    first = cells_of_field(1, ROWS - 2) if place == 0 else cells_of_field(ROWS - 1, 4)
    slide.report([Result(image, "reported", None, first, FieldRecord(640, 481, (), b""))])
    write_pages(slide, bundle, RUN, tmp_path, [seq], every_row=False)
    assert {path.name for path in before if path.stat().st_ino != before[path]} == touched


def test_a_slide_without_fields_tells_of_none(bundle: Bundle, tmp_path: Path):
    cells = [a_cell(1), a_cell(2, "platelet")]
    page = render_page(bundle, "f" * 32, cells, summarize(bundle, RUN, cells), has_maps=True)
    text = re.sub(r"<script>.*?</script>|<style>.*?</style>", "", page, flags=re.S)
    assert "2 images, classified by" in text
    assert not re.search("field", re.sub(r'"fields": \[.*?\]|"ofFields": false', "", text), re.IGNORECASE)
    assert "Empty" not in text
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        slide = ledger.add_slide(b"/captures/s", "s")
        slide.begin_run(RUN)
        write_pages(slide, bundle, RUN, tmp_path)
    assert not list((tmp_path / "cells").glob("fields*"))


@pytest.mark.parametrize(
    ("smudges", "said"),
    [
        (0, "Platelets are not searched in fields.</p>"),
        (1, "1 smudge, clump or piece of debris was found and not counted."),
        (4, "4 smudges, clumps or debris were found and not counted."),
    ],
)
def test_the_head_tells_of_fields_cells_and_smudges(bundle: Bundle, smudges: int, said: str):
    empty = replace(a_cell(4), status="empty", label=None, probabilities=(), thumbnail=None, part=None)
    again = replace(a_cell(3, part=3), status="duplicate", same_cell_as=1)
    cells = [a_cell(1, part=1), a_cell(2, part=2, corrected_label="not a cell", corrected_by="Ada"), again, empty]
    page = render_page(
        bundle, "f" * 32, cells, summarize(bundle, RUN, cells, SlideState(1, "", FIELDS, smudges)), has_maps=True
    )
    assert "2 of 3 fields, 2 cells, classified by" in page
    assert "1 field still waits" in page
    assert said in page
    assert '<th scope="row">Empty</th><td class="number">1</td>' in page
    assert "a red cell is 90.8 pixels wide" in page
    assert page.count("no cell, smudge or debris, not counted</span>") == 1
