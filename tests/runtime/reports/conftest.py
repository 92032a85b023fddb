from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browsing import chromium_started
from playwright.sync_api import Browser, Page
from reviewer import classify, make_slide

from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.ledger.folder import LEDGER
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.reports.rebuild import rebuild_reports


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium_started() as started:
        yield started


@pytest.fixture(scope="session")
def shipped() -> Bundle:
    """The shipped bundle with all its rules."""
    return load_bundle()


@pytest.fixture
def out(slide: Path, tmp_path: Path, bundle: Bundle) -> Path:
    """Reports of a slide with a hostile name in it, and with three cells that await review."""
    folder = make_slide(slide, tmp_path / "slide")
    (folder / "cell-03.jpg").rename(folder / "<img src=x onerror=document.title='gone'>.jpg")
    out = classify(folder, bundle)
    with Ledger(out / LEDGER) as ledger:
        (known,) = ledger.slides()
        reason = "low confidence (0.61 < 0.93); out of focus (sharpness 3 < 5)"
        cells = [cell for cell in known.cells() if cell.seq in (2, 3, 4)]
        known.correct([], [replace(cell, status="review", reason=reason) for cell in cells])
    rebuild_reports(out)
    return out


@pytest.fixture
def page(browser: Browser, out: Path) -> Iterator[Page]:
    """The report, opened from disk; it may complain of nothing, and ask for nothing but files."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page, said, asked = context.new_page(), [], []
    page.set_default_timeout(300_000)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((out / "slide" / "report.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    yield page
    assert said == []
    assert {url.split(":", 1)[0] for url in asked} <= {"file", "blob"}
    context.close()
