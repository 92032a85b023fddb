"""A browser without a window, that asks a station."""

from starlette.testclient import TestClient

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
