"""Fields in the page: where boxes lie, how they look, and what they lead to."""

from pathlib import Path

import pytest
from browsing import reload, saved, shown
from field_page import HOSTILE, Rows, edit, focus, kept, wait_for_focus
from playwright.sync_api import Page

from cartcls.runtime.images.resize import Image
from cartcls.runtime.reports.corrections import correct


def rendered_boxes(page: Page, frame: str, boxes: str) -> dict[int, list[float]]:
    """Where boxes are drawn, as shares of their picture's sides: x, y, width, height, by the number of their cell."""
    found: list[tuple[int, list[float]]] = page.evaluate(
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
    page.wait_for_function("() => document.querySelector('.field img').naturalWidth")
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
    assert page.locator("#sheet [data-seq='1'] .number").get_attribute("data-label") == "neutrophil"
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


def test_what_a_person_calls_no_cell_is_not_counted(page: Page):
    focus(page, 2)
    page.keyboard.press("n")
    assert drawn(page, 2) == "box smudge"
    assert page.locator("#field-list .line").first.inner_text() == "3 cells · 1 not a cell · 1 smudge"


def test_a_box_leads_to_its_cell_and_back(page: Page):
    page.select_option("#status", "review")  # none of this field
    page.locator("#field-list .field").nth(1).click()
    page.locator("#sheet button").first.click()
    assert page.locator("#cell-title").inner_text() == "eosinophil · no. 5"
    assert page.locator("#place-text").inner_text() == "b.png, cell 1 of 2"
    assert page.locator("#before").is_disabled()
    page.keyboard.press("ArrowRight")  # the next one of the field
    assert page.locator("#cell-title").inner_text() == "eosinophil · no. 6"
    assert page.locator("#after").is_disabled()
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.activeElement.dataset.seq === '6'")
    assert page.locator("dialog#field").is_visible()
    assert page.locator("#sheet .marked").get_attribute("data-seq") == "6"
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    wait_for_focus(page, "list 5")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.keyboard.press("ArrowRight")  # is for the gallery again
    page.wait_for_function("() => document.activeElement.dataset.seq === '2'", timeout=30_000)


def test_a_cell_leads_to_its_box_and_back(page: Page):
    focus(page, 3)
    page.keyboard.press("Enter")
    page.click("#show-field")
    assert page.locator("#field-title").inner_text() == HOSTILE
    assert page.locator("dialog#cell").is_hidden()
    wait_for_focus(page, "sheet 3")
    assert page.locator("#sheet .marked").get_attribute("data-seq") == "3"
    page.locator("#sheet [data-seq='4']").click()
    page.click("#show-field")
    page.wait_for_function("() => document.querySelector('#sheet .marked').dataset.seq === '4'")
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.activeElement.dataset.seq === '3'")
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
    page.wait_for_function("() => document.activeElement.dataset.seq === '6'")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Enter")
    page.click("#why button")
    page.keyboard.press("Escape")  # no. 1 is not among those shown
    page.wait_for_function("() => document.activeElement.dataset.seq === '6'", timeout=30_000)


def test_cards_tell_which_cell_of_a_field_they_are(page: Page):
    assert f"3 · {HOSTILE}, cell 3" in page.locator("#cells .cell[data-seq='3']").inner_text()
    assert page.locator("header p.soft").inner_text().startswith("3 fields, 5 cells, classified by")
    width, height = page.locator("#cells .cell[data-seq='5'] .half").evaluate(
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
    wait_for_focus(page, "list 49")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#fields-shown").inner_text() == "1–48 of 1000"
    page.keyboard.press("Enter")
    page.click("#field-after")
    page.keyboard.press("Escape")
    wait_for_focus(page, "list 49")
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
