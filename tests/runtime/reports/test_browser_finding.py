"""The page of a finding."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browsing import shown
from fakes import giving_findings
from playwright.sync_api import Page
from reviewer import classify, make_slide

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.folder import LEDGER
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.reports.rebuild import rebuild_reports


@pytest.fixture
def out(slide: Path, tmp_path: Path, bundle: Bundle) -> Path:
    """Reports of a slide of eight cells, of which two speak against the finding."""
    out = classify(make_slide(slide, tmp_path / "slide"), giving_findings(bundle))
    with Ledger(out / LEDGER) as ledger:
        (known,) = ledger.slides()
        labels = {3: "monocyte", 6: "other: blast"}
        cells = [replace(cell, corrected_label=labels[cell.seq]) for cell in known.cells() if cell.seq in labels]
        known.correct([], [replace(cell, corrected_by="Ada", corrected_at="2026-01-02T03:04:05Z") for cell in cells])
    rebuild_reports(out)
    return out


@pytest.fixture
def figures(page: Page) -> Iterator[list[str]]:
    yield page.locator(".against figcaption").all_inner_texts()


def test_a_cell_that_speaks_against_it_is_opened_among_those_of_its_label(page: Page, figures: list[str]):
    assert page.locator(".headline").inner_text() == "6 of 8 cells labelled eosinophil"
    assert figures == ["monocyte · by Ada · no. 3", "other: blast · by Ada · no. 6"]
    page.locator(".against figure a").last.click()
    assert page.locator("#cell-title").inner_text() == "other: blast · no. 6"
    page.keyboard.press("Escape")
    assert shown(page) == [6]
    page.click(".against p a[data-label=monocyte]")
    assert page.locator("#cell").is_hidden()
    assert shown(page) == [3]


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen(page: Page, width: int):
    page.set_viewport_size({"width": width, "height": 844})
    assert page.locator("table.finding .bar svg").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".scroll:has(table.finding)").evaluate("table => table.scrollWidth <= table.clientWidth")
