"""A watch whose clock a test holds."""

import csv
from collections.abc import Callable
from pathlib import Path

from fakes import FakeBackend

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.fields.reading import FieldSearch
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.slides.watch import Watch, WatchTimings


class Scene:
    """A capture folder, its watch, and a clock that goes when it is told to."""

    def __init__(self, root: Path, bundle: Bundle, ledger: Ledger, fields: FieldSearch | None = None):
        self.captures, self.out, self.fields = root / "captures", root / "out", fields
        self.captures.mkdir(exist_ok=True)
        self.bundle, self.ledger = bundle, ledger
        self.time = 0.0
        self.said: list[str] = []
        self.batches: list[int] = []
        self.begin()

    def begin(
        self, timings: WatchTimings | None = None, level: int = 1, alive: Callable[[], None] = lambda: None
    ) -> None:
        self.watch = Watch(
            self.captures,
            self.out,
            Classifier(self.bundle, FakeBackend(seen=self.batches), fields=self.fields),
            self.ledger,
            timings or WatchTimings(),
            level,
            lambda: self.time,
            self.said.append,
            alive=alive,
        )

    def wait(self, seconds: float = 3.0) -> int:
        """Let time go by, a second at a time, with a look each."""
        done = 0
        for _ in range(round(seconds)):
            self.time += 1
            done += self.watch.step()
        return done

    def rows(self, slide: str) -> dict[str, dict[str, str]]:
        with (self.out / slide / "cells.csv").open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["seq"]) for row in rows] == list(range(1, len(rows) + 1))
        assert len({row["path"] for row in rows}) == len(rows)
        return {row["path"]: row for row in rows}


def put(folder: Path, name: str, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return folder / name
