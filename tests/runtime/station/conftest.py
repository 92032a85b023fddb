from collections.abc import Iterator
from pathlib import Path

import playwright.sync_api as playwright
import pytest
from asking import Browser
from browsing import chromium_started
from reviewer import classify, make_slide
from staging import PATIENCE, station
from trial import Trial

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.folder import review_ledger
from cartcls.runtime.station.desk import Desk


@pytest.fixture
def out(slide: Path, tmp_path: Path, bundle: Bundle) -> Path:
    """Reports of a slide of eight cells, a duplicate and a file that is no image."""
    return classify(make_slide(slide, tmp_path / "slide"), bundle)


@pytest.fixture
def browser(out: Path) -> Iterator[Browser]:
    """A browser that was let in."""
    with review_ledger(out) as (ledger, bundle):
        made = Browser(Desk(out, ledger, bundle))
        made.enter()
        yield made


@pytest.fixture(scope="module")
def chromium() -> Iterator[playwright.Browser]:
    with chromium_started() as started:
        yield started


@pytest.fixture
def trial(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Trial]:
    """A watch with three cells, or fields."""
    made = getattr(request, "param", Trial)(tmp_path)
    for number in range(3):
        made.put(number)
    made.start()
    made.until_done()
    yield made
    made.end()


@pytest.fixture
def link(trial: Trial) -> Iterator[str]:
    """Of a station beside the watch."""
    with station(trial.out) as started:
        yield started


@pytest.fixture
def page(chromium: playwright.Browser, link: str) -> Iterator[playwright.Page]:
    """The slide at the station; it may complain of nothing, and ask for nothing from elsewhere."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page, said, asked = context.new_page(), [], []
    page.set_default_timeout(PATIENCE)
    playwright.expect.set_options(timeout=PATIENCE)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(link)
    page.click("text=captures")
    page.wait_for_selector("body[data-ready]")
    yield page
    refused = ("401 (Un", "409 (Conflict)", "422 (Un", "507 (Insufficient Storage)")  # the page says why
    assert [line for line in said if not any(code in line for code in refused)] == []
    origin = link.partition("/?")[0]
    assert [url for url in asked if not url.startswith(f"{origin}/")] == []
    context.close()
