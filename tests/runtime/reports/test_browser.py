import base64
import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import IN_CI, reload, saved, shown
from playwright.sync_api import Browser, Dialog, Page

from cartcls.runtime.images import thumbnail
from cartcls.runtime.reports.corrections import correct

AXE = os.environ.get("AXE")  # axe.min.js of the npm package axe-core


def count(page: Page, label: str) -> str:
    return page.locator(f"table.differential tr:has(a[data-label='{label}']) td.number").first.inner_text()


def test_cells_are_relabelled_by_key_saved_and_counted(page: Page, out: Path, tmp_path: Path):
    assert count(page, "eosinophil") == "8"
    page.select_option("#reason", "out of focus")
    assert shown(page) == [2, 3, 4]
    page.locator(".cell").first.focus()
    page.keyboard.press("3")  # monocyte
    page.keyboard.press("c")
    page.keyboard.press("u")
    assert page.locator("#unsaved-text").inner_text() == "3 corrections, not saved yet"
    rows = saved(page, tmp_path / "corrections.csv")
    assert [(row["seq"], row["from"], row["to"]) for row in rows] == [
        ("2", "eosinophil", "monocyte"),
        ("3", "eosinophil", "eosinophil"),
        ("4", "eosinophil", "unsure"),
    ]
    done = correct(out, tmp_path / "corrections.csv", "Ada")
    assert (done.changed, done.confirmed) == (2, 1)
    reload(page)
    assert count(page, "eosinophil") == "7"
    assert count(page, "monocyte") == "1"
    assert "PRELIMINARY: 1 cell awaits review." in page.locator(".note").nth(1).inner_text()
    assert page.locator("#unsaved").is_hidden()  # the report says the same now
    assert "by Ada, was eosinophil" in page.locator(".cell[data-seq='2']").inner_text()


def test_cells_are_found_by_class_status_and_reason(page: Page):
    assert shown(page)[:3] == [2, 3, 4]  # what must be looked at
    assert sorted(shown(page)) == list(range(1, 11))
    page.select_option("#status", "rejected")
    assert shown(page) == [10]
    page.select_option("#status", "duplicate")
    assert shown(page) == [9]
    page.select_option("#status", "")
    page.click("#labels button[data-label=eosinophil]")
    assert sorted(shown(page)) == list(range(1, 9))
    page.click("#labels button[data-label='']")
    page.click("a[data-reason^='the file is not a JPEG']")
    assert shown(page) == [10]
    page.click("a[data-label=monocyte]")
    assert shown(page) == []


def test_a_hostile_name_is_text(page: Page):
    cell = page.locator(".cell[data-seq='1']")
    assert "<img src=x onerror=document.title='gone'>.jpg" in cell.inner_text()
    cell.click()
    assert "<img src=x onerror" in page.locator("#facts").inner_text()
    assert page.title() == "slide: blood cells"
    assert page.locator("img[src=x]").count() == 0


def test_corrections_outlive_a_reload_and_can_be_undone(page: Page):
    page.locator(".cell[data-seq='5']").focus()
    page.keyboard.press("n")
    page.once("dialog", lambda dialog: dialog.accept())  # leave, though they are not saved
    reload(page)
    assert page.locator("#unsaved-text").inner_text() == "1 correction, not saved yet"
    assert "not a cell" in page.locator(".cell[data-seq='5']").inner_text()
    page.locator(".cell[data-seq='5']").focus()
    page.keyboard.press("Backspace")
    assert page.locator("#unsaved").is_hidden()
    assert "eosinophil" in page.locator(".cell[data-seq='5']").inner_text()


def test_confirming_confirms_what_is_shown(page: Page, tmp_path: Path):
    for seq, keys in ((5, "3c"), (6, "uc")):
        for key in keys:
            page.locator(f".cell[data-seq='{seq}']").focus()
            page.keyboard.press(key)
    assert [row["to"] for row in saved(page, tmp_path / "corrections.csv")] == ["monocyte", "eosinophil"]


def test_corrections_that_no_longer_fit_are_told_and_those_of_missing_files_kept(page: Page, out: Path):
    page.on("dialog", lambda dialog: dialog.accept())
    for seq in (5, 6):
        page.locator(f".cell[data-seq='{seq}']").focus()
        page.keyboard.press("6")
    page.evaluate(
        "() => { const kept = JSON.parse(localStorage.getItem(corrections.key));"
        " kept.entries[0].sha256 = 'other'; kept.entries[1].seq = 600;"
        " localStorage.setItem(corrections.key, JSON.stringify(kept)); }"
    )
    reload(page)
    assert (
        page.locator("#unsaved-text").inner_text() == "1 correction, not saved yet · 1 correction no longer fits: no. 5"
    )


def test_a_correction_of_a_cell_that_is_gone_since_is_told_and_not_saved(page: Page, out: Path, tmp_path: Path):
    page.locator(".cell[data-seq='1']").focus()
    page.keyboard.press("3")
    page.locator(".cell[data-seq='2']").focus()
    page.keyboard.press("3")
    file = out / "slide" / "cells" / "rows-0000.js"
    file.write_text(file.read_text().replace('"ok"', '"gone"', 1))
    reload(page)
    assert "1 correction, not saved yet · 1 correction no longer fits: no. 1" in page.inner_text("#unsaved-text")
    assert [row["seq"] for row in saved(page, tmp_path / "corrections.csv")] == ["2"]


def test_a_class_typed_as_something_else_is_that_class(page: Page, tmp_path: Path):
    for seq, name in ((5, "Neutrophil"), (6, "NOT a cell"), (7, "blast")):
        page.locator(f".cell[data-seq='{seq}']").focus()
        page.keyboard.press("o")
        page.keyboard.type(name)
        page.keyboard.press("Enter")
        assert page.locator("dialog#cell").is_hidden()  # Enter went into the box alone
    assert [row["to"] for row in saved(page, tmp_path / "corrections.csv")] == [
        "neutrophil",
        "not a cell",
        "other: blast",
    ]


def test_leaving_with_unsaved_corrections_is_asked_about(page: Page, tmp_path: Path):
    asked: list[str] = []

    def leave(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", leave)
    page.locator(".cell[data-seq='5']").focus()
    page.keyboard.press("8")
    reload(page)
    assert asked == ["beforeunload"]
    saved(page, tmp_path / "corrections.csv")
    reload(page)
    assert asked == ["beforeunload"]


def test_everything_can_be_done_by_keyboard(page: Page, tmp_path: Path):
    page.locator("#labels button").first.focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if "cell" in page.evaluate("document.activeElement.className"):
            break
    first = page.evaluate("document.activeElement.dataset.seq")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.dataset.seq") == first
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.dataset.seq") == first
    page.keyboard.press("Enter")
    assert page.locator("dialog#cell").is_visible()
    page.wait_for_selector("#heat canvas")
    before = page.locator("#heat-title").inner_text()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("before => document.getElementById('heat-title').textContent !== before", arg=before)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("o")
    page.keyboard.type("plasma, cell")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert page.locator("dialog#cell").is_hidden()
    assert "cell" in page.evaluate("document.activeElement.className")
    page.locator("#save").focus()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    download.value.save_as(tmp_path / "corrections.csv")
    with (tmp_path / "corrections.csv").open(newline="", encoding="utf-8") as handle:
        assert [row["to"] for row in csv.DictReader(handle)] == ["other: plasma, cell"]


def test_a_closing_cell_does_not_take_the_focus_from_where_one_went(page: Page):
    page.locator(".cell[data-seq='5']").focus()
    page.keyboard.press("6")
    page.keyboard.press("Enter")
    focused: str = page.evaluate(
        "new Promise((done) => {"
        " const dialog = document.getElementById('cell');"
        " dialog.addEventListener('close', () => done(document.activeElement.id));"
        " dialog.close(); document.getElementById('save').focus(); })"
    )
    assert focused == "save"


def test_what_counts_for_nothing_cannot_be_relabelled(page: Page):
    for seq in (9, 10):
        page.locator(f".cell[data-seq='{seq}']").focus()
        page.keyboard.press("6")
    assert page.locator("#unsaved").is_hidden()


def test_the_map_of_a_class_is_drawn_as_in_the_thumbnails(page: Page, out: Path):
    random = np.random.default_rng(0)
    cams = random.normal(0, 1, (8, 12, 12)).astype(np.float32)
    packed = base64.b64encode(thumbnail.pack(cams)).decode()
    page.evaluate("document.querySelector(\".cell[data-seq='5']\").click()")
    page.wait_for_selector("#heat canvas")
    page.evaluate("packed => cartcls.maps(packed)", {"5": packed})
    for index, place in ((3, 5), (0, 4)):  # immature granulocyte and basophil, in the graph's order and the page's
        page.locator("#chances button").nth(place).click()
        drawn: Any = page.evaluate(
            "(() => { const c = document.querySelector('#heat canvas');"
            " return [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]; })()"
        )
        pixels = np.array(drawn[2], np.float64).reshape(drawn[0], drawn[1], 4)
        grey = np.full((drawn[0], drawn[1], 3), 128, np.uint8)
        alpha = pixels[:, :, 3:] / 255
        over = grey * (1 - alpha) + pixels[:, :, :3] * alpha
        difference = np.abs(over - thumbnail.overlay(grey, cams[index]))
        assert difference.max() <= 10
        assert np.percentile(difference, 99) <= 3


def test_without_scripts_the_differential_is_there(browser: Browser, out: Path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((out / "slide" / "report.html").as_uri())
    assert count(page, "eosinophil") == "8"
    assert "The pictures need JavaScript" in page.locator("noscript").inner_text()
    assert page.locator("#tools").is_hidden()
    context.close()


def test_a_file_that_is_missing_is_told_of(browser: Browser, out: Path):
    (out / "slide" / "cells" / "rows-0000.js").unlink()
    page = browser.new_page()
    page.goto((out / "slide" / "report.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    assert "copy the whole folder" in page.locator("#shown").inner_text()
    page.close()


@pytest.mark.skipif(not (AXE or IN_CI), reason="AXE does not name axe.min.js of the npm package axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("opened", [False, True])
def test_axe_finds_no_serious_problem(browser: Browser, out: Path, scheme: Any, opened: bool):
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto((out / "slide" / "report.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    page.locator(".cell").first.focus()
    page.keyboard.press("6")
    if opened:
        page.keyboard.press("Enter")
        page.wait_for_selector("#heat canvas")
    page.evaluate(Path(str(AXE)).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    print(json.dumps({"rules passed": len(found["passes"]), "violations": [v["id"] for v in found["violations"]]}))
    assert [violation["id"] for violation in found["violations"]] == []
    context.close()
