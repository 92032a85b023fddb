"""The trial of a watch, with whole fields in the place of cells: all cells of a file have their rows, or none has."""

import sqlite3
import sys
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from trial import EXAMPLES, Trial

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from mosaic import HOME_DIAMETER, mosaic

from cartcls.runtime.fields.find import find
from cartcls.runtime.fields.scale import mpp_of
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.jpeg import decode_jpeg
from cartcls.runtime.reports.rebuild import verify_reports

MPP = mpp_of(HOME_DIAMETER)
DONE = ("ok", "review", "duplicate", "empty")
SIZES = (2, 1, 3, 0, 4)  # cells of each picture


class FieldTrial(Trial):
    """A trial with fields of none to four cells; their pictures come again and again, so that later ones overlap."""

    def __init__(self, root: Path, *mutants: str, real: bool = False, timings: float = 600.0):
        super().__init__(root, "fields", *mutants, real=real, timings=timings)
        self.cells = [data for data, _ in pictures()]
        self.numbers: dict[int, tuple[str, int | None]] = {}
        self.moved: list[str] = []

    def command(self, *more: str) -> list[str]:
        """What watches."""
        return super().command(*(("--fields", "--mpp", f"{MPP:.5f}") if self.real else ()), *more)

    def count_of(self, name: str) -> int:
        """How many rows a file has."""
        return max(1, pictures()[int(name.split(".")[0]) % len(pictures())][1])

    def until_done(self) -> None:
        """Wait until every file has its rows."""
        wanted = sum(map(self.count_of, self.expected))
        self.until(lambda: len(self.rows()) >= wanted, f"of {wanted} rows, some are not there")

    def end(self) -> None:
        """Kill it, and note rows whose number another cell had before."""
        super().end()
        ledger = self.out / "ledger.sqlite"
        if ledger.exists():
            with sqlite3.connect(ledger) as database:
                now = {seq: (path, part) for seq, path, part in database.execute("SELECT seq, path, part FROM cells")}
            before, self.numbers = self.numbers, now
            self.moved += [f"no. {seq} was {cell}" for seq, cell in before.items() if now.get(seq) != cell]

    def problems(self) -> list[str]:
        """What is lost, doubled, torn or wrong."""
        rows, found = self.rows(), list(self.moved)
        by_file: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
        for row in rows:
            by_file[row["path"]].append(row)
        for name, digest in self.expected.items():
            own, count = by_file.pop(name, []), self.count_of(name)
            parts = [row["part"] for row in own]
            if parts not in ([str(number) for number in range(1, count + 1)], [""] * (count == 1)):
                found.append(f"{name} has the cells {parts} of {count}")
            elif [int(row["seq"]) for row in own] != list(range(int(own[0]["seq"]), int(own[0]["seq"]) + count)):
                found.append(f"{name} is not numbered in one piece")
            found += [f"{name} has the wrong bytes" for row in own if row["sha256"] != digest]
        found += [f"{name} was never there" for name in by_file]
        found += [f"{row['path']} is {row['status']}: {row['reason']}" for row in rows if row["status"] not in DONE]
        counted = {row["seq"] for row in rows if row["status"] in ("ok", "review")}
        for row in rows:
            if row["status"] == "duplicate" and row["reason"].removeprefix("same cell as no. ") not in counted:
                found.append(f"no. {row['seq']} is counted nowhere: {row['reason']}")
        if [row["seq"] for row in rows] != [str(number) for number in range(1, len(rows) + 1)]:
            found.append("the numbers have gaps")
        return found + [str(difference) for slide in verify_reports(self.out) for difference in slide.differences]


@lru_cache(maxsize=1)
def pictures() -> list[tuple[bytes, int]]:
    """Fields as JPEG files, and how many cells are found in each."""
    crops = [read_image(path)[0] for path in sorted(EXAMPLES.glob("*.jpg"))]
    made, random = [], np.random.default_rng(5)
    for place, count in enumerate(SIZES):
        if count:
            picture = mosaic(crops[4 * place : 4 * place + count], 2, random).image
        else:
            picture = np.full((430, 430, 3), (250, 240, 230), np.uint8)
        data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
        made.append((data, len(find(decode_jpeg(data), HOME_DIAMETER).cells)))
    return made
