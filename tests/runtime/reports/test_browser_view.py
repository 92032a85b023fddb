"""What leads a reader through the page: keys, links, times, colours, paper."""

import base64
from pathlib import Path

import numpy as np
import pytest
from browsing import reload, saved, shown
from playwright.sync_api import Browser, Page

from cartcls.runtime.images import thumbnail
from cartcls.runtime.reports.corrections import correct

ORDER = ["neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "immature granulocyte"]
ORDER += ["erythroblast", "platelet"]


def focused(page: Page) -> str | None:
    return page.evaluate("document.activeElement.dataset.seq")


def unsaved(page: Page) -> str:
    return page.locator("#unsaved-text").inner_text()


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
