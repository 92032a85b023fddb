"""A browser without a window, that asks a station."""

from starlette.testclient import TestClient, httpx

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


def rows(client: TestClient) -> dict[int, list]:
    return {row[0]: row for row in client.get("/slides/1/rows/0").json()}


def label(client: TestClient, seq: int, to: str | None, by: str = "Anna", **others: object) -> httpx.Response:
    row = rows(client)[seq]
    wish = {"seq": seq, "sha256": row[8], "base": row[-1], "to": to, "by": by}
    return client.post("/slides/1/corrections", json=wish | others)


def revision(client: TestClient) -> str:
    return client.get("/slides/1/state").json()["revision"]


def tell(client: TestClient, info: object, by: str = "Anna", **others: object) -> httpx.Response:
    """Type the facts of the slide."""
    return client.post("/slides/1/facts", json={"by": by, "revision": revision(client), "info": info} | others)


def see(client: TestClient, by: str = "Anna") -> list[str]:
    """Look at all cells; returns what keeps from signing."""
    cells = [[seq, row[12] or row[5]] for seq, row in rows(client).items() if row[2] in ("ok", "review")]
    return client.post("/slides/1/shown", json={"by": by, "cells": cells}).json()["refusals"]


def sign(client: TestClient, by: str = "Anna") -> httpx.Response:
    return client.post("/slides/1/signatures", json={"by": by, "revision": revision(client)})
