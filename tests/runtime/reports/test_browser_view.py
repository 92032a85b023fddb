"""What leads a reader through the page: keys, links, times, colours, paper."""

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browsing import reload, saved, shown
from playwright.sync_api import Browser, Page

from cartcls.runtime.images import thumbnail
from cartcls.runtime.ledger.folder import LEDGER
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import Cell
from cartcls.runtime.reports.corrections import correct
from cartcls.runtime.reports.rebuild import rebuild_reports

ORDER = ["neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "immature granulocyte"]
ORDER += ["erythroblast", "platelet"]


def focused(page: Page) -> str | None:
    return page.evaluate("document.activeElement.dataset.seq")


def unsaved(page: Page) -> str:
    return page.locator("#unsaved-text").inner_text()


def change(page: Page, out: Path, changed: Callable[[Cell], Cell]) -> None:
    """Change rows in the ledger, and show the new report."""
    with Ledger(out / LEDGER) as ledger:
        (slide,) = ledger.slides()
        slide.correct([], [changed(cell) for cell in slide.cells()])
    rebuild_reports(out)
    reload(page)


def test_arrow_keys_work_from_the_start(page: Page):
    assert focused(page) is None
    page.keyboard.press("ArrowDown")
    assert focused(page) == "2"  # the first one; it comes into view
    page.keyboard.press("ArrowRight")
    assert focused(page) == "3"
    page.click("#labels button[data-label='']")  # the focus stays on the button
    page.keyboard.press("ArrowRight")
    assert focused(page) == "3"


def test_enter_opens_a_cell_from_the_start(page: Page):
    page.keyboard.press("Enter")
    assert page.locator("#cell-title").inner_text().endswith("no. 2")


@pytest.mark.parametrize(("key", "label"), [("3", "monocyte"), ("n", "not a cell"), ("c", "confirmed here")])
def test_keys_relabel_from_the_start_what_is_in_view(page: Page, key: str, label: str):
    page.keyboard.press(key)
    assert page.locator("#unsaved").is_hidden()  # nothing happens to a cell that is out of sight
    assert focused(page) == "2"
    page.keyboard.press(key)
    assert unsaved(page) == "1 correction, not saved yet"
    assert label in page.locator(".cell[data-seq='2']").inner_text()
    page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    page.keyboard.press(key)
    assert unsaved(page) == "1 correction, not saved yet"


def test_a_correction_fits_until_another_person_has_labelled_the_cell(page: Page, out: Path):
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator(".cell[data-seq='5']").focus()
    page.keyboard.press("3")
    change(page, out, lambda cell: replace(cell, label="neutrophil"))  # the model's, computed anew
    assert unsaved(page) == "1 correction, not saved yet"
    by_another = {"corrected_label": "platelet", "corrected_by": "Bo", "corrected_at": "2026-01-01T00:00:00Z"}
    change(page, out, lambda cell: replace(cell, **by_another, comment="small, <b>pale</b>"))
    assert unsaved(page) == "1 correction no longer fits: no. 5"
    page.locator(".cell[data-seq='5']").click()
    assert "small, <b>pale</b>" in page.locator("#facts").inner_text()


def test_a_list_of_choices_keeps_its_keys(page: Page):
    page.locator("#status").focus()
    page.keyboard.press("n")
    page.keyboard.press("n")
    assert page.locator("#unsaved").is_hidden()


def test_the_banner_leads_to_what_must_be_looked_at(page: Page):
    page.click("#labels button[data-label=eosinophil]")
    page.evaluate("scrollTo(0, 0)")
    page.click(".note a[data-status=review]")
    assert shown(page) == [2, 3, 4]
    assert focused(page) == "2"
    page.keyboard.press("c")
    assert unsaved(page) == "1 correction, not saved yet"


def test_classes_stand_in_a_haematologists_order(page: Page):
    assert page.locator("table.differential th a").all_inner_texts() == ORDER
    page.locator(".cell").first.click()
    assert page.locator("#chances button > span:nth-child(2)").all_inner_texts() == ORDER
    assert page.locator("#chances button span:nth-child(3)").all_inner_texts()[3] > "0.9"  # eosinophil
    keys = page.locator("#relabel button[data-label]").all_inner_texts()
    assert keys[:2] == ["neutrophil\n1", "lymphocyte\n2"]
    page.keyboard.press("ArrowDown")
    assert page.locator("#chances [aria-checked=true]").inner_text().startswith("basophil")
    page.keyboard.press("5")
    assert page.locator(".cell[data-seq='2'] b").inner_text() == "basophil"


def test_a_corrected_cell_has_no_confidence_beside_its_label(page: Page, out: Path, tmp_path: Path):
    page.locator(".cell[data-seq='5']").focus()
    page.keyboard.press("3")
    assert page.locator(".cell[data-seq='5'] .chance").inner_text() == ""
    saved(page, tmp_path / "corrections.csv")
    correct(out, tmp_path / "corrections.csv", "Ada")
    reload(page)
    assert page.locator(".cell[data-seq='5'] .chance").inner_text() == ""
    assert "by Ada, was eosinophil 0.9" in page.locator(".cell[data-seq='5']").inner_text()


def test_what_is_saved_is_not_offered_to_be_saved(page: Page, tmp_path: Path):
    page.locator(".cell[data-seq='5']").focus()
    page.keyboard.press("3")
    assert page.locator("#unsaved button:visible").all_inner_texts() == ["Save corrections.csv", "Discard"]
    saved(page, tmp_path / "corrections.csv")
    assert page.locator("#unsaved button:visible").all_inner_texts() == ["Clear"]
    page.keyboard.press("3")
    assert page.locator("#unsaved button:visible").all_inner_texts() == ["Save corrections.csv", "Discard"]


def test_reviewed_cells_can_be_listed(page: Page, out: Path, tmp_path: Path):
    for seq, key in ((2, "c"), (5, "3"), (6, "u")):
        page.locator(f".cell[data-seq='{seq}']").focus()
        page.keyboard.press(key)
    saved(page, tmp_path / "corrections.csv")
    assert correct(out, tmp_path / "corrections.csv", "Ada").after.reviewed == 2
    reload(page)
    page.select_option("#status", "reviewed")
    assert sorted(shown(page)) == [2, 5]
    page.select_option("#status", "review")
    assert sorted(shown(page)) == [3, 4, 6]


def test_all_counts_agree(page: Page, out: Path):
    def changed(cell: Cell) -> Cell:
        if cell.seq == 5:
            return replace(cell, status="gone", reason="its file is no longer in the slide's folder")
        return replace(cell, corrected_label="unsure", corrected_by="Ada") if cell.seq == 6 else cell

    change(page, out, changed)
    assert page.locator("header p.soft").inner_text().startswith("9 images, ")
    assert page.locator("#labels button").all_inner_texts() == ["All\n9", "eosinophil\n7", "unsure\n1"]
    assert page.locator("#shown").inner_text() == "1–9 of 9"
    assert page.locator("table.differential tr:has(a[data-label=eosinophil]) td.number").first.inner_text() == "7"
    page.click("table.differential a[data-label=eosinophil]")
    assert sorted(shown(page)) == [1, 2, 3, 4, 6, 7, 8]
    page.locator(".cell").first.focus()
    page.keyboard.press("3")
    for option in page.locator("#status option, #reason option").all():
        label = option.inner_text()
        if label != "any":
            page.evaluate("filter.label = filter.status = filter.reason = ''")
            menu, value = option.evaluate("option => [option.parentElement.id, option.value]")
            page.select_option(f"#{menu}", value)
            assert label.endswith(f"({len(shown(page))})")


def test_an_open_cell_stays_and_shows_its_new_label(page: Page):
    page.locator(".cell[data-seq='2']").click()
    for name, label, told in (
        ("monocyte", "monocyte", "changed here, was eosinophil"),
        ("undo", "eosinophil", ""),
        ("confirm", "eosinophil", "confirmed here"),
    ):
        page.locator("#relabel button", has_text=name).click()
        assert page.locator("#cell-title").inner_text() == f"{label} · no. 2"
        assert page.locator("#change").inner_text() == told
    page.keyboard.press("n")
    page.keyboard.press("o")
    page.keyboard.type("blast")
    page.keyboard.press("Enter")
    assert page.locator("#cell-title").inner_text() == "other: blast · no. 2"
    assert unsaved(page) == "1 correction, not saved yet"
    assert page.locator("#before").is_disabled()
    page.click("#after")
    assert page.locator("#cell-title").inner_text() == "eosinophil · no. 3"
    assert page.locator("#change").inner_text() == ""
    page.keyboard.press("ArrowLeft")
    assert page.locator("#cell-title").inner_text() == "other: blast · no. 2"


def test_what_is_to_be_done_with_a_saved_file_is_told(page: Page, tmp_path: Path):
    page.locator(".cell[data-seq='5']").focus()
    page.keyboard.press("3")
    saved(page, tmp_path / "corrections.csv")
    assert unsaved(page) == (
        "1 correction saved to corrections-slide.csv, among this browser's downloads. In that folder, run"
        " cartcls correct OUT corrections-slide.csv --by NAME"
        " where OUT is the folder that holds this report's folder, and NAME is yours."
    )


def test_a_reason_of_every_cell_is_not_repeated_on_each_card(page: Page, out: Path):
    def flagged(cell: Cell) -> Cell:
        reason = "not calibrated; out of focus (sharpness 3 < 5)" if cell.seq == 2 else "not calibrated"
        return replace(cell, status="review", reason=reason) if cell.can_be_corrected else cell

    change(page, out, flagged)
    assert "review: out of focus (sharpness 3 < 5)" in page.locator(".cell[data-seq='2']").inner_text()
    assert "review" not in page.locator(".cell[data-seq='4']").inner_text()
    page.locator(".cell[data-seq='2']").click()
    assert page.locator("#why").inner_text().startswith("review: not calibrated; out of focus")
    change(page, out, lambda cell: replace(flagged(cell), status="ok", reason="") if cell.seq == 1 else flagged(cell))
    assert "review: not calibrated" in page.locator(".cell[data-seq='4']").inner_text()


def test_a_long_reason_does_not_widen_the_menu(page: Page, out: Path):
    def rejected(cell: Cell) -> Cell:
        return replace(cell, reason="is no picture: " + 20 * "long " + "end") if cell.status == "rejected" else cell

    change(page, out, rejected)
    texts = page.locator("#reason option").all_inner_texts()
    assert "the file is no picture: long long long long… (1)" in texts
    assert max(map(len, texts)) < 50
    page.select_option("#reason", "the file is no picture: " + 20 * "long " + "end")
    assert shown(page) == [10]


def test_the_differential_fits_a_phone(page: Page):
    page.set_viewport_size({"width": 390, "height": 844})
    table = page.locator(".scroll:has(table.differential)")
    assert table.locator(".without").first.is_visible()
    assert table.evaluate("table => table.scrollWidth <= table.clientWidth")
    label, dot = (
        page.locator(f"table.differential th:has-text('immature granulocyte') {part}").evaluate(
            "element => { const box = [...element.getClientRects()].at(-1); return [box.left, box.right]; }"
        )
        for part in ("a", ".dot")
    )
    assert label[0] >= dot[1]  # also its second line


def test_where_there_is_no_evidence_none_is_drawn(page: Page):
    maps = np.zeros((8, 12, 12), np.float32)
    maps[1, 3, 3], maps[6, 11, 0] = 1, 0.001
    page.locator(".cell[data-seq='5']").click()
    page.wait_for_selector("#heat canvas")
    page.evaluate("packed => cartcls.maps(packed)", {"5": base64.b64encode(thumbnail.pack(maps)).decode()})
    page.locator("#chances button", has_text="neutrophil").click()
    assert page.locator("#heat-title").inner_text() == "No evidence for neutrophil"
    assert page.locator("#heat canvas").count() == 0
    page.locator("#chances button", has_text="eosinophil").click()
    assert "its peak, in red, is 100 %" in page.locator("#heat-title").inner_text()
    assert page.locator("#heat canvas").count() == 1


def test_times_are_told_in_utc_and_by_the_local_clock(browser: Browser, out: Path):
    page = browser.new_page(timezone_id="Asia/Tokyo", locale="en-GB")
    page.goto((out / "slide" / "report.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    time = page.locator("header time")
    hour = int((time.get_attribute("datetime") or "")[11:13])
    assert " UTC (" in time.inner_text()
    assert f"{(hour + 9) % 24:02d}:" in time.inner_text().split("(")[1]
    assert time.inner_text().endswith(" local time)")
    page.close()


def test_on_paper_are_all_cells_that_match(page: Page):
    page.evaluate("cells.push(...Array.from({ length: 240 }, (_, i) => ({ ...cells[4], seq: 11 + i })))")
    page.evaluate("applyFilter(); turnPage(1)")
    assert len(shown(page)) == 100
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(shown(page)) == 250
    assert page.locator("#cells img[loading=lazy]").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(shown(page)) == 100
    assert page.locator("#shown").inner_text() == "101–200 of 250"


def test_colours_of_classes_are_seen_on_the_dark_ground(browser: Browser, out: Path):
    page = browser.new_page(color_scheme="dark")
    page.goto((out / "slide" / "report.html").as_uri())
    contrasts: list[float] = page.evaluate(
        """() => {
          const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
          const luminance = (color) => {
            context.fillStyle = color;
            context.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((v) =>
              v <= 10 ? v / 3294 : ((v / 255 + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
          };
          const style = (element) => getComputedStyle(element).backgroundColor;
          const ground = luminance(style(document.querySelector(".card")));
          return [...document.querySelectorAll("table.differential a")].map((link) =>
            luminance(style(link.previousElementSibling)) / ground);
        }"""
    )
    assert len(contrasts) == 8
    assert min(contrasts) >= 3  # WCAG 2, 1.4.11
    page.close()
