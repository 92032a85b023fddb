"""A station as a trial runs it, whole or with a fault; and a reviewer who labels cells whatever happens to it."""

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from starlette.testclient import httpx  # the one that Starlette goes with

from cartcls.runtime.station import app, serve
from cartcls.runtime.station.reviews import Wish


def answer_too_early() -> None:
    """Say that a label is kept, and save it a little later."""
    make = app.Station._apply

    def apply(self: app.Station, request: app.Request, wish: Wish) -> app.Response:
        threading.Timer(0.2, make, (self, request, wish)).start()
        return app.JSONResponse({"said": "", "row": None})

    app.Station._apply = apply


def save_again() -> None:
    """Save what is sent again as another correction: the reviewer's browser does not know that it was kept."""
    make = app.Station._apply

    def apply(self: app.Station, request: app.Request, wish: Wish) -> app.Response:
        query = "SELECT ifnull(max(id), 0) FROM corrections WHERE seq = ?"
        with self._desk.slide(1) as slide:
            assert slide is not None
            last = slide.database.number(query, wish.seq)
        answer = make(self, request, Wish(wish.seq, wish.sha256, last, wish.to, wish.by))
        time.sleep(0.3)  # long enough to be killed before it is answered
        return answer

    app.Station._apply = apply


MUTANTS: dict[str, Callable[[], None]] = {"early": answer_too_early, "again": save_again}


@dataclass
class Reviewer:
    """Labels cells one after the other, each until the station has said that it is kept.

    Attributes:
        kept: Number of the cell by label; each label is given once.
        wrong: What the station said that it should not have.
        asked: The last label that was asked for: told to stop meanwhile, nobody knows whether it is kept.
    """

    base: str
    link: Callable[[], str]
    kept: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    asked: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """Label until told to stop."""
        chance = random.Random(1)
        with httpx.Client(base_url=self.base, headers={"Origin": self.base}, timeout=60) as client:
            while not self.stopping.is_set():
                self._label(client, chance)

    def _label(self, client: httpx.Client, chance: random.Random) -> None:
        """Give one cell a label that no other has."""
        found = self._until_answered(client, "GET", "/slides/1/rows/0")
        cells = [row for row in found.json() if row[2] == "ok"] if found else []
        if not cells:
            return
        row, label = chance.choice(cells), f"other: {len(self.kept)}"
        self.asked = label
        wish = {"seq": row[0], "sha256": row[8], "base": row[-1], "to": label, "by": "Anna"}
        answer = self._until_answered(client, "POST", "/slides/1/corrections", wish)
        if answer is None:  # told to stop before it was known: it may be kept or not
            return
        if answer.status_code != 200:
            self.wrong.append(f"{label}: {answer.status_code} {answer.text[:200]}")
        self.kept[label] = row[0]

    def _until_answered(
        self, client: httpx.Client, method: str, path: str, body: object = None
    ) -> httpx.Response | None:
        while not self.stopping.is_set():
            try:
                answer = client.request(method, path, json=body)
                if answer.status_code not in (401, 503):
                    return answer
                client.get(self.link())
            except httpx.TransportError:
                time.sleep(0.02)
        return None


def main(out: Path, port: int, mutants: list[str]) -> None:
    """Serve until told to stop."""
    for mutant in mutants:
        MUTANTS[mutant]()
    serve.EVERY = 0.3
    serve.serve(out, "127.0.0.1", port, lambda link, _: print(link, flush=True), partial(print, file=sys.stderr))


if __name__ == "__main__":
    os.nice(5)
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
