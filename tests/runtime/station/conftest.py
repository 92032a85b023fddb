from collections.abc import Iterator
from pathlib import Path

import pytest
from reviewer import classify, make_slide
from starlette.testclient import TestClient

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.folder import review_ledger
from cartcls.runtime.station.access import Hosts, Sessions
from cartcls.runtime.station.app import application
from cartcls.runtime.station.desk import Desk

PORT = 8765
BASE = f"http://127.0.0.1:{PORT}"


class Browser:
    """A browser that asks the station, and the station's inside."""

    def __init__(self, desk: Desk):
        self.desk, self.sessions = desk, Sessions(PORT)
        self.client = self.another()

    def another(self) -> TestClient:
        """One that was not let in."""
        web = application(self.desk, self.sessions, Hosts("127.0.0.1", PORT))
        return TestClient(web, base_url=BASE, headers={"Origin": BASE}, follow_redirects=False)

    def enter(self, client: TestClient | None = None) -> None:
        assert (client or self.client).get(f"/?token={self.sessions.token}").status_code == 303


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
