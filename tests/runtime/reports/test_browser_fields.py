"""Fields in the page: where boxes lie, what they lead to, and how a field is opened, zoomed and moved."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from browsing import IN_CI, reload, saved, shown
from mosaic import mosaic
from playwright.sync_api import Browser, Page
from reviewer import classify

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.fields.reading import FieldSearch
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import Image
from cartcls.runtime.ledger.folder import LEDGER
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import Cell
from cartcls.runtime.reports.corrections import correct
from cartcls.runtime.reports.rebuild import rebuild_reports

AXE = os.environ.get("AXE")  # axe.min.js of the npm package axe-core
HOSTILE = "<img src=x onerror=document.title='gone'>.png"
SMUDGE = (50, 60, 70, 80)
Rows = list[list[Any]]


@pytest.fixture(scope="module")
def pictures(slide: Path, labels: dict[str, str]) -> dict[str, Image]:
    """A field of four cells, one of two, and one of none."""
    names = [name for name, label in labels.items() if label in ("lymphocyte", "neutrophil")][2:8]
    crops = [read_image(slide / name)[0] for name in names]
    first, second = (mosaic(part, 2, np.random.default_rng(0)).image for part in (crops[:4], crops[4:]))
    return {HOSTILE: first, "b.png": second, "c.png": np.full((400, 500, 3), first[0, 0], np.uint8)}


@pytest.fixture
def out(pictures: dict[str, Image], tmp_path: Path, bundle: Bundle) -> Path:
    """Reports of a slide of fields; of its cells no. 2 awaits review, and no. 5 is counted as no. 1."""
    folder = tmp_path / "slide"
    folder.mkdir()
    for name, pixels in pictures.items():
        PIL.Image.fromarray(pixels).save(folder / name)
    out = classify(folder, bundle, fields=FieldSearch())
    with Ledger(out / LEDGER) as ledger:
        (known,) = ledger.slides()
        cells = {cell.seq: cell for cell in known.cells()}
        review = replace(cells[2], status="review", reason="low confidence (0.61 < 0.93)")
        again = replace(cells[6], status="duplicate", reason="same cell as no. 1", same_cell_as=1)
        known.correct([], [review, again])
    rebuild_reports(out)
    edit(
        out, "fields", lambda fields: [[*field[:3], [SMUDGE] if field[4][0] == 1 else [], field[4]] for field in fields]
    )
    return out


def edit(out: Path, kind: str, change: Callable[[Rows], Rows]) -> None:
    """Change a file of data of the page."""
    file = out / "slide" / "cells" / f"{kind}-0000.js"
    start = len(f"cartcls.{kind}(")
    rows = json.loads(file.read_text()[start:-2])
    file.write_text(f"cartcls.{kind}({json.dumps(change(rows))})\n")


def kept(out: Path) -> dict[int, Cell]:
    with Ledger(out / LEDGER) as ledger:
        (known,) = ledger.slides()
        return {cell.seq: cell for cell in known.cells()}


def rendered_boxes(page: Page, frame: str, boxes: str) -> dict[int, list[float]]:
    """Where boxes are drawn, as shares of their picture's sides: x, y, width, height, by the number of their cell."""
    found: list[list[Any]] = page.evaluate(
        """([frame, boxes]) => {
          const outer = document.querySelector(frame).getBoundingClientRect();
          return [...document.querySelectorAll(boxes)].map((box) => {
            const { left, top, width, height } = box.tagName === "rect"
              ? { ...box.getBBox(), left: box.x.baseVal.value, top: box.y.baseVal.value,
                  width: box.width.baseVal.value, height: box.height.baseVal.value }
              : box.getBoundingClientRect();
            const [x, y, w, h] = box.tagName === "rect"
              ? [0, 0, ...box.ownerSVGElement.getAttribute("viewBox").split(" ").slice(2).map(Number)]
              : [outer.left, outer.top, outer.width, outer.height];
            return [Number(box.dataset.seq), [(left - x) / w, (top - y) / h, width / w, height / h]];
          });
        }""",
        [frame, boxes],
    )
    return dict(found)


def expected_boxes(out: Path, pixels: Image, name: str) -> dict[int, list[float]]:
    height, width = pixels.shape[:2]
    cells = [cell for cell in kept(out).values() if cell.path == name and cell.box]
    sides = [(cell.seq, cell.box) for cell in cells if cell.box]
    return {seq: [x / width, y / height, w / width, h / height] for seq, (x, y, w, h) in sides}


def drawn(page: Page, seq: int) -> str:
    return page.locator(f"#field-list rect[data-seq='{seq}']").get_attribute("class") or ""


def focus(page: Page, seq: int) -> None:
    page.locator(f"#cells .cell[data-seq='{seq}']").focus()


def focused(page: Page) -> str:
    """Number of the box or card that has the focus, and where it is."""
    return page.evaluate(
        "(({ dataset, parentElement }) => `${parentElement.id || 'list'} ${dataset.seq ?? dataset.first}`)"
        "(document.activeElement)"
    )


@pytest.mark.parametrize("zooms", [0, 2])
def test_boxes_lie_where_the_cells_are(page: Page, out: Path, pictures: dict[str, Image], zooms: int):
    for place, name in enumerate((HOSTILE, "b.png")):
        wanted = expected_boxes(out, pictures[name], name)
        assert len(wanted) == (4, 2)[place]
        card = f"#field-list li:nth-child({place + 1})"
        assert rendered_boxes(page, f"{card} img", f"{card} rect[data-seq]") == {
            seq: pytest.approx(box, abs=1e-6) for seq, box in wanted.items()
        }
        page.locator(f"{card} .field").click()
        for _ in range(zooms):
            page.keyboard.press("+")
        assert rendered_boxes(page, "#sheet img", "#sheet button") == {
            seq: pytest.approx(box, abs=2e-3) for seq, box in wanted.items()
        }
        page.keyboard.press("Escape")


def test_the_picture_fills_the_frame_that_boxes_are_drawn_in(page: Page):
    page.locator("#field-list .field").first.scroll_into_view_if_needed()
    sides: list[list[float]] = page.evaluate(
        "['img', 'svg'].map((part) => { const box = document.querySelector(`#field-list ${part}`)"
        ".getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; })"
    )
    assert sides[0] == pytest.approx(sides[1])
    natural = page.evaluate("(({ naturalWidth: w, naturalHeight: h }) => w / h)(document.querySelector('.field img'))")
    assert sides[0][2] / sides[0][3] == pytest.approx(natural, rel=0.01)


def test_a_box_has_its_class_colour_and_a_line_for_its_status(page: Page, out: Path):
    assert [drawn(page, seq) for seq in (1, 2, 6)] == ["box k1", "box k1 waits", "box again"]
    smudge = page.locator("#field-list rect.smudge")
    assert [smudge.get_attribute(name) for name in ("x", "y", "width", "height")] == ["50", "60", "70", "80"]
    style = "(rect, name) => getComputedStyle(rect)[name]"
    colors = [page.locator(f"rect[data-seq='{seq}']").evaluate(style, "stroke") for seq in (1, 2, 6)]
    assert colors[0] == colors[1] != colors[2]
    lines = ["rect[data-seq='1']", "rect[data-seq='2']", "rect[data-seq='6']", "rect.smudge"]
    dashes = [page.locator(f"#field-list {line}").evaluate(style, "strokeDasharray") for line in lines]
    assert dashes[0] == dashes[2] == "none"
    assert len(set(dashes)) == 3
    widths = [page.locator(f"#field-list {line}").evaluate(style, "strokeWidth") for line in lines]
    assert float(widths[2][:-2]) < float(widths[0][:-2])
    title = page.locator("rect[data-seq='6'] title").text_content() or ""
    assert title.endswith("duplicate: same cell as no. 1")


def test_a_persons_label_decides_the_colour_at_once_and_after(page: Page, out: Path, tmp_path: Path):
    focus(page, 2)
    page.keyboard.press("3")  # monocyte
    assert drawn(page, 2) == "box k5"
    assert page.locator("#field-list .line").first.inner_text() == "4 cells · 1 smudge"
    page.locator("#field-list .field").first.click()
    page.locator("#sheet [data-seq='1']").click()
    page.keyboard.press("u")
    assert page.locator("#sheet [data-seq='1']").get_attribute("class") == "box waits"
    page.keyboard.press("1")
    assert page.locator("#sheet [data-seq='1']").get_attribute("class") == "box k6"
    assert page.locator("#sheet [data-seq='1']").get_attribute("aria-label") == "No. 1, neutrophil, reviewed"
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    saved(page, tmp_path / "corrections.csv")
    correct(out, tmp_path / "corrections.csv", "Ada")
    reload(page)
    assert [drawn(page, seq) for seq in (1, 2)] == ["box k6", "box k5"]
    page.on("dialog", lambda dialog: dialog.accept())
    focus(page, 1)
    page.keyboard.press("4")
    page.click("#discard")
    assert drawn(page, 1) == "box k6"


def test_a_box_leads_to_its_cell_and_back(page: Page):
    page.locator("#field-list .field").nth(1).click()
    page.locator("#sheet button").first.click()
    assert page.locator("#cell-title").inner_text() == "eosinophil · no. 5"
    assert page.locator("#place-text").inner_text() == "b.png, cell 1 of 2"
    assert page.locator("#before").is_disabled()
    page.keyboard.press("ArrowRight")  # the next one of the field
    assert page.locator("#cell-title").inner_text() == "eosinophil · no. 6"
    assert page.locator("#after").is_disabled()
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement.dataset.seq === '6'")
    assert page.locator("dialog#field").is_visible()
    assert page.locator("#sheet .marked").get_attribute("data-seq") == "6"
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert focused(page) == "list 5"


def test_a_cell_leads_to_its_box_and_back(page: Page):
    focus(page, 3)
    page.keyboard.press("Enter")
    page.click("#show-field")
    assert page.locator("#field-title").inner_text() == HOSTILE
    assert page.locator("dialog#cell").is_hidden()
    assert focused(page) == "sheet 3"
    assert page.locator("#sheet .marked").get_attribute("data-seq") == "3"
    page.locator("#sheet [data-seq='4']").click()
    page.click("#show-field")
    page.wait_for_function("document.querySelector('#sheet .marked').dataset.seq === '4'")
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement.dataset.seq === '3'")
    assert page.locator("dialog[open]").count() == 0
    assert page.locator("#cells .cell[tabindex='0']").get_attribute("data-seq") == "3"


def test_a_field_with_no_cell_is_listed_and_shown(page: Page):
    assert page.locator("#field-list .line").all_inner_texts()[2] == "no cell"
    assert page.locator("tr:has-text('fields with no cell') td.number").inner_text() == "1"
    page.select_option("#status", "empty")
    assert shown(page) == [7]
    assert "no cell" in page.locator("#cells .cell").inner_text()
    page.locator("#cells .cell").click()
    assert page.locator("#show-field").inner_text() == "Show the field"
    page.click("#show-field")
    assert page.locator("#field-title").inner_text() == "c.png"
    assert page.locator("#sheet button").count() == 0


def test_a_duplicate_leads_to_the_cell_that_is_counted(page: Page):
    page.select_option("#status", "duplicate")
    page.locator("#cells .cell").click()
    page.click("#why button")
    assert page.locator("#cell-title").inner_text() == "eosinophil · no. 1"
    assert page.locator("#before").is_disabled()
    assert page.locator("#after").is_disabled()
    page.keyboard.press("ArrowRight")
    assert page.locator("#cell-title").inner_text() == "eosinophil · no. 1"
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement.dataset.seq === '6'")
    page.keyboard.press("ArrowRight")  # no error, though no. 1 is not among those shown
    assert shown(page) == [6]


def test_cards_tell_which_cell_of_a_field_they_are(page: Page):
    assert f"3 · {HOSTILE}, cell 3" in page.locator("#cells .cell[data-seq='3']").inner_text()
    assert page.locator("header p.soft").inner_text().startswith("3 fields, 5 cells, classified by")
    width, height = page.locator("#cells .cell[data-seq='3'] .half").evaluate(
        "half => [half.clientWidth, half.clientHeight]"
    )
    assert width / height == pytest.approx(2 * 360 / 363, abs=0.03)  # as the crop is, not as the field


def test_no_platelet_is_told_of(page: Page):
    assert "platelet" not in page.locator("table.differential").inner_text()
    assert "Platelets are not searched in fields." in page.locator("main").inner_text()
    focus(page, 3)
    page.keyboard.press("Enter")
    assert page.locator("#chances button").count() == 7
    page.keyboard.press("ArrowUp")  # the last class stands above the first
    for _ in range(7):
        page.keyboard.press("ArrowDown")
    assert page.locator("#relabel button[data-label=platelet]").is_visible()


def test_a_hostile_name_is_text(page: Page):
    assert page.locator("#field-list .field b").first.inner_text() == HOSTILE
    page.locator("#field-list .field").first.click()
    assert page.locator("#field-title").inner_text() == HOSTILE
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "slide: blood cells"


def test_fields_can_be_used_by_keyboard_alone(page: Page):
    page.locator("#cells .cell[tabindex='0']").focus()
    page.keyboard.press("Tab")
    assert focused(page) == "list 1"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("3")  # is not for a cell of the gallery
    page.keyboard.press("End")
    assert focused(page) == "list 7"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Home")
    assert focused(page) == "list 1"
    assert page.locator("#unsaved").is_hidden()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "field-view"
    page.keyboard.press("Tab")
    box = page.get_by_role("button", name="No. 1, eosinophil, 0.95, ok")
    assert box.evaluate("box => box === document.activeElement")
    assert page.get_by_role("button", name="No. 2, eosinophil, 0.95, review").count() == 1
    page.keyboard.press("Enter")
    assert page.locator("#cell-title").inner_text().endswith("no. 1")
    page.keyboard.press("Escape")
    page.keyboard.press("]")
    assert page.locator("#field-title").inner_text() == "b.png"
    page.keyboard.press("ArrowRight")
    assert page.locator("#field-title").inner_text() == "c.png"
    assert page.locator("#field-after").is_disabled()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    assert focused(page) == "list 5"


def sheet(page: Page) -> dict[str, float]:
    return page.locator("#sheet").evaluate("sheet => sheet.getBoundingClientRect().toJSON()")


def test_zoom_and_move_by_keys_and_buttons(page: Page):
    page.locator("#field-list .field").first.click()
    fitting = sheet(page)
    assert page.locator("#zoom-out").is_disabled()
    page.keyboard.press("+")
    page.click("#zoom-in")
    assert sheet(page)["width"] == pytest.approx(2.25 * fitting["width"], rel=0.01)
    before = sheet(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.locator("#field-title").inner_text() == HOSTILE
    assert sheet(page)["left"] < before["left"]
    assert sheet(page)["top"] < before["top"]
    page.keyboard.press("-")
    assert sheet(page)["width"] == pytest.approx(1.5 * fitting["width"], rel=0.01)
    page.keyboard.press("0")
    assert sheet(page) == fitting
    for _ in range(30):
        page.keyboard.press("+")
    assert sheet(page)["width"] < 20 * fitting["width"]


def test_the_wheel_zooms_around_the_pointer(page: Page):
    page.locator("#field-list .field").first.click()
    box = page.locator("#sheet [data-seq='4']").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    width = sheet(page)["width"]
    page.mouse.move(x, y)
    for _ in range(3):
        page.mouse.wheel(0, -200)
    page.wait_for_function("width => document.getElementById('sheet').offsetWidth > 2 * width", arg=width)
    box = page.locator("#sheet [data-seq='4']").bounding_box()
    assert box is not None
    assert box["x"] < x < box["x"] + box["width"]
    assert box["y"] < y < box["y"] + box["height"]


def test_a_drag_moves_the_picture_and_opens_nothing(page: Page):
    page.locator("#field-list .field").first.click()
    page.keyboard.press("+")
    page.keyboard.press("+")
    view, before = page.locator("#field-view").bounding_box(), sheet(page)
    assert view is not None
    boxes = [one.bounding_box() for one in page.locator("#sheet button").all()]
    box = next(one for one in boxes if one and one["y"] > view["y"] and one["x"] > view["x"])
    x, y = box["x"] + 5, box["y"] + 5
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 30, y - 40, steps=4)
    page.mouse.up()
    assert sheet(page)["left"] == pytest.approx(before["left"] - 30, abs=1)
    assert sheet(page)["top"] == pytest.approx(before["top"] - 40, abs=1)
    assert page.locator("dialog#cell").is_hidden()
    page.mouse.click(x - 30, y - 40)
    assert page.locator("dialog#cell").is_visible()


def test_a_thousand_fields_are_shown_in_pages(page: Page, out: Path):
    def rows(old: Rows) -> Rows:
        return [[seq, f"{seq}.png", *old[0][2:]] for seq in range(1, 1001)]

    edit(out, "rows", rows)
    edit(out, "fields", lambda old: [[*old[0][:4], [seq]] for seq in range(1, 1001)])
    reload(page)
    assert page.locator("#field-list img").count() == 48
    assert page.locator("#field-list img:not([loading=lazy])").count() == 0
    assert page.evaluate("document.getElementsByTagName('*').length") < 4000
    assert page.locator("#fields-shown").inner_text() == "1–48 of 1000"
    page.click("#fields-next")
    assert page.locator("#fields-shown").inner_text() == "49–96 of 1000"
    assert focused(page) == "list 49"
    page.keyboard.press("ArrowLeft")
    assert page.locator("#fields-shown").inner_text() == "1–48 of 1000"
    page.keyboard.press("Enter")
    page.click("#field-after")
    page.keyboard.press("Escape")
    assert focused(page) == "list 49"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#field-list img[loading=eager]").count() == 1000
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#field-list img").count() == 48


def test_a_field_whose_cells_are_gone_is_not_shown(page: Page, out: Path):
    edit(out, "rows", lambda rows: [[*r[:2], "gone" if r[1] == "b.png" else r[2], *r[3:]] for r in rows])
    reload(page)
    assert page.locator("#field-list b").all_inner_texts() == [HOSTILE, "c.png"]


def test_fields_are_on_paper_and_dialogs_are_not(page: Page):
    page.locator("#field-list .field").first.click()
    page.emulate_media(media="print")
    assert page.locator("dialog#field").is_hidden()
    assert page.locator("#field-list .field").nth(2).is_visible()
    columns = page.locator("#field-list").evaluate(
        "list => getComputedStyle(list).gridTemplateColumns.split(' ').length"
    )
    assert columns == 4
    assert page.locator(".field").first.evaluate("card => getComputedStyle(card).breakInside") == "avoid"


def test_a_field_fits_a_phone(page: Page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#field-list .field").first.click()
    view, inside = page.locator("#field-view").bounding_box(), sheet(page)
    assert view is not None
    assert view["x"] + view["width"] <= 390
    assert inside["width"] <= view["width"]


@pytest.mark.skipif(not (AXE or IN_CI), reason="AXE does not name axe.min.js of the npm package axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("opened", ["", "field", "cell"])
def test_axe_finds_no_serious_problem(browser: Browser, out: Path, scheme: Any, opened: str):
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto((out / "slide" / "report.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    if opened:
        page.locator("#field-list .field").first.click()
    if opened == "cell":
        page.locator("#sheet button").first.click()
    page.evaluate(Path(str(AXE)).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    print(json.dumps({"rules passed": len(found["passes"]), "violations": [v["id"] for v in found["violations"]]}))
    assert [violation["id"] for violation in found["violations"]] == []
    context.close()
