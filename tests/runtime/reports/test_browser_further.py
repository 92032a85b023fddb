"""The page of networks that also give the cell's box, or a spatial attention."""

import os
from pathlib import Path
from typing import Any

import pytest
from browsing import IN_CI
from fakes import FakeBackend, giving
from playwright.sync_api import Browser, Page
from reviewer import classify, make_slide

from cartcls.runtime.bundle.bundle import Bundle

AXE = os.environ.get("AXE")  # axe.min.js of the npm package axe-core
BACKENDS = {
    "boxes": FakeBackend(maps=False, box=(0.25, 0.25, 0.5, 0.5)),
    "attention": FakeBackend(attention=True),
}


@pytest.fixture(params=["boxes", "attention"])
def further(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def out(slide: Path, tmp_path: Path, bundle: Bundle, further: Any) -> Path:
    """Reports of a slide."""
    return classify(make_slide(slide, tmp_path / "slide"), giving(bundle, further), backend=BACKENDS[further])


@pytest.mark.parametrize("further", ["attention"])
def test_each_picture_has_its_own_name_closed_and_opened(page: Page, further: str):
    card = page.locator(".cell[data-seq='2']")
    assert card.locator(".names span").all_inner_texts() == ["the cell", "Grad-CAM", "spatial attention"]
    assert card.locator(".names").get_attribute("aria-hidden") == "true"
    told = page.locator("#pictures > p.soft").inner_text()
    assert "its Grad-CAM: red marks the evidence" in told and "spatial attention: how much the network weighs" in told
    width, height = card.locator(".half").evaluate("e => [e.clientWidth, e.clientHeight]")
    assert width / height == pytest.approx(3 * 360 / 363, rel=0.02)
    card.click()
    page.wait_for_selector("#heat canvas")
    captions = page.locator("#cell figcaption").all_inner_texts()
    assert captions[0] == "The cell"
    assert captions[1].startswith("Grad-CAM Evidence for eosinophil: its peak")
    assert captions[2] == "Spatial attention from 0.20 (no colour) to 0.80 (red), whatever the class"
    shown = page.locator(".view img").evaluate_all(
        "all => all.map(e => Math.round((e.getBoundingClientRect().left - e.parentElement.getBoundingClientRect().left)"
        " / e.parentElement.clientWidth))"
    )
    assert shown == [0, 0, -2]
    page.keyboard.press("ArrowDown")
    assert page.locator("#heat-title").inner_text().startswith("Evidence for basophil")
    assert page.locator("#attention-title").inner_text().startswith("from 0.20")


@pytest.mark.parametrize("further", ["boxes"])
def test_a_box_is_named_and_in_numbers_and_nothing_speaks_of_heat_maps(page: Page, further: str):
    assert "The outline in each picture is the cell's box" in page.locator("#pictures > p.soft").inner_text()
    card = page.locator(".cell[data-seq='2']")
    assert card.locator(".names").count() == 0
    card.click()
    assert page.locator("#cell figcaption").first.inner_text() == "The cell, and its box"
    assert "180 × 181, at 90, 91" in page.locator("#facts").inner_text()
    assert page.locator("#heat").is_hidden()
    assert page.locator("#chances-title").inner_text() == "Probabilities"
    page.keyboard.press("ArrowDown")  # no class has a map
    assert page.locator("#heat").is_hidden()
    assert "heat map" not in page.locator("main").inner_text()
    page.keyboard.press("Escape")
    strip = page.locator(".strip img").first.bounding_box()
    assert strip is not None and strip["width"] == strip["height"]  # the whole picture


def test_it_fits_every_screen_and_paper(page: Page, further: str):
    for width in (320, 390, 800, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        page.locator(".cell").first.click()
        assert page.locator("#cell").evaluate("e => e.scrollWidth <= e.clientWidth"), width
        page.keyboard.press("Escape")
    page.set_viewport_size({"width": 720, "height": 1000})
    page.emulate_media(media="print")
    page.evaluate("showAll(true)")
    columns = page.locator("#cells .cells").first.evaluate(
        "e => getComputedStyle(e).gridTemplateColumns.split(' ').length"
    )
    assert columns == (3 if further == "attention" else 4)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.skipif(not (AXE or IN_CI), reason="AXE does not name axe.min.js of the npm package axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_problem(browser: Browser, out: Path, scheme: Any):
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto((out / "slide" / "report.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    for opened in (False, True):
        if opened:
            page.locator(".cell").first.click()
        page.evaluate(Path(str(AXE)).read_text(encoding="utf-8"))
        found = page.evaluate("axe.run()")
        assert [violation["id"] for violation in found["violations"]] == []
    context.close()
