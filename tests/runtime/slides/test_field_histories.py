"""Random histories of a slide of fields: what its files show is counted once after each run, whatever came before."""

import shutil
from collections import defaultdict
from pathlib import Path
from random import Random

import numpy as np
import pytest
from bench import Rows
from fakes import FakeBackend
from field_bench import FieldBench
from mosaic import HOME_DIAMETER, Mosaic, scaled

from cartcls.runtime.errors import SlideError
from cartcls.runtime.fields.reading import FieldSearch
from cartcls.runtime.fields.scale import mpp_of
from cartcls.runtime.images.decode import hash_file

SCALE = 0.4
COLUMN = 430 * SCALE
WINDOWS = ((0, 2), (0, 2.5), (1, 3), (1, 6), (1.5, 4), (3, 6), (0, 6))
NAMES = ("a.png", "b.png", "c.png", "d.png")
CHANGES = ("put", "put", "put", "delete", "rename", "copy", "swap", "label", "label", "run", "run", "enough", "kill")
COUNTED = ("ok", "reviewed")
Place = tuple[float, int, int, int]


class History:
    """A slide whose files, labels and runs a random generator chooses."""

    def __init__(self, bench: FieldBench, wide: Mosaic, seed: int):
        self.bench, self.random = bench, Random(seed)
        self.image = scaled(wide, SCALE).image
        self.window: dict[str, tuple[float, float]] = {}  # by digest
        self.given: dict[tuple[str, ...], str] = {}
        bench.search = FieldSearch(mpp=mpp_of(HOME_DIAMETER * SCALE))

    def change(self) -> None:
        """Do one thing."""
        kind, files = self.random.choice(CHANGES), sorted(self.bench.folder.iterdir())
        if kind == "put" or len(files) < 2:
            self._put()
        elif kind == "delete":
            self.random.choice(files).unlink()
        elif kind == "rename":
            files[0].rename(self.bench.folder / self.random.choice(NAMES))
        elif kind == "copy":
            files[0].with_name("e.png").write_bytes(files[-1].read_bytes())
        elif kind == "swap":
            shutil.move(files[0], aside := self.bench.folder.parent / "aside")
            shutil.move(files[1], files[0])
            shutil.move(aside, files[1])
        elif kind == "label":
            self._label()
        else:
            self.run(kind)

    def run(self, kind: str = "run") -> None:
        """Classify what is there, and check the rows; some runs are killed, or stop early."""
        calls, last = iter(range(1000)), self.random.randrange(4)

        def fail() -> None:
            if kind == "kill" and next(calls) == last:
                raise KeyboardInterrupt

        try:
            rows = self.bench.batch(FakeBackend(fail, maps=False), leukocytes=5 if kind == "enough" else None)
        except (KeyboardInterrupt, SlideError):  # most of it is gone
            return
        self._check_labels(rows)
        if kind != "enough":
            self._check_files(rows)
            self._check_cells(rows)

    def _put(self) -> None:
        first, last = self.random.choice(WINDOWS)
        part = np.ascontiguousarray(self.image[:, int(first * COLUMN) : int(last * COLUMN)])
        file = self.bench.put(self.random.choice(NAMES), part)
        self.window[_digest(file)] = first, last

    def _label(self) -> None:
        """Label a cell of the last run."""
        if not (self.bench.out / "slide" / "cells.csv").exists():
            return
        counted = [row for row in self.bench.rows().values() if row["status"] in COUNTED and not row["corrected_by"]]
        if counted:
            row, label = self.random.choice(counted), self.random.choice(("ig", "not a cell"))
            self.bench.correct((int(row["seq"]), label))
            self.given[_key(row)] = label

    def _check_labels(self, rows: Rows) -> None:
        for row in rows.values():
            if row["status"] in COUNTED:
                assert (row["label"] if row["corrected_by"] else None) == self.given.get(_key(row))

    def _check_files(self, rows: Rows) -> None:
        parts: defaultdict[str, list[int]] = defaultdict(list)
        for row in rows.values():
            parts[row["path"]].append(int(row["part"]))
            assert row["sha256"] == _digest(self.bench.folder / row["path"])
        assert sorted(parts) == sorted(file.name for file in self.bench.folder.iterdir())
        assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in parts.values())

    def _check_cells(self, rows: Rows) -> None:
        places = {row["seq"]: self._place(row) for row in rows.values()}
        counted = [row for row in rows.values() if row["status"] in COUNTED]
        for row in rows.values():
            same = [one for one in counted if _overlap(places[one["seq"]], places[row["seq"]]) > 0.5]
            assert len({one["seq"] for one in same}) == 1 or row["at_edge"] == "1"
            if (seq := row["reason"].removeprefix("same cell as no. ")).isdecimal():
                assert seq in {one["seq"] for one in counted}
                assert _overlap(places[seq], places[row["seq"]]) > 0

    def _place(self, row: dict[str, str]) -> Place:
        """Box of a cell in the whole picture."""
        x, y, w, h = (int(row[name]) for name in "xywh")
        return x + int(self.window[row["sha256"]][0] * COLUMN), y, w, h


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("seq", "sha256", *"xywh"))


def _digest(file: Path) -> str:
    return hash_file(bytes(file), 1 << 30)[0]


def _overlap(one: Place, other: Place) -> float:
    """Area of what two boxes share, as a part of what they cover."""
    across, down = (min(one[i] + one[i + 2], other[i] + other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    shared = max(0, across) * max(0, down)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


@pytest.mark.parametrize("seed", range(4))
def test_each_cell_is_counted_once_after_a_random_history(bench: FieldBench, wide: Mosaic, seed: int):
    history = History(bench, wide, seed)
    for _ in range(16):
        history.change()
    history.run()
