"""A slide of whole fields that a test classifies again and again."""

import csv
from pathlib import Path

import cv2
import numpy as np
from bench import Rows
from fakes import FakeBackend
from mosaic import Mosaic
from reviewer import corrections

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.fields.reading import FieldSearch
from cartcls.runtime.images.resize import Image
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.reports.corrections import correct
from cartcls.runtime.reports.rebuild import verify_reports
from cartcls.runtime.reports.summary import Summary
from cartcls.runtime.slides.batch import classify_slide

CELL = "{path}#{part}"


class FieldBench:
    """A slide of fields: `put` writes one, `batch` classifies those that are there."""

    def __init__(self, root: Path, bundle: Bundle):
        self.folder, self.out, self.bundle = root / "slide", root / "out", bundle
        self.folder.mkdir()
        self.said: list[str] = []
        self.batches: list[int] = []
        self.summary: Summary
        self.search: FieldSearch | None = FieldSearch()

    def put(self, name: str, image: Image) -> Path:
        """Write a field; PNG, so that a part of a field is the same in two files."""
        file = self.folder / name
        assert cv2.imwrite(str(file), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        return file

    def batch(self, backend: FakeBackend | None = None, leukocytes: int | None = None) -> Rows:
        """Rows by path and number of the cell in its field, as `a.png#1`, or by the path alone."""
        self.said.clear()
        self.batches.clear()
        classifier = Classifier(self.bundle, backend or FakeBackend(seen=self.batches), fields=self.search)
        with open_ledger(self.out, self.bundle) as ledger:
            told = self.said.append
            _, self.summary = classify_slide(
                self.folder, self.out, classifier, ledger, notify=told, leukocytes=leukocytes
            )
        assert not any(slide.differences for slide in verify_reports(self.out))
        return self.rows()

    def rows(self) -> Rows:
        rows = self.all_rows()
        assert [row["seq"] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
        found = {CELL.format(**row) if row["part"] else row["path"]: row for row in rows if row["status"] != "gone"}
        assert len(found) == sum(row["status"] != "gone" for row in rows)
        return found

    def all_rows(self) -> list[dict[str, str]]:
        with (self.out / "slide" / "cells.csv").open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))

    def correct(self, *changes: tuple[int, str]) -> None:
        correct(self.out, corrections(self.out, *changes), "Ada")


def part(wide: Mosaic, first: int, last: int) -> Image:
    """Columns of the field, from the first to before the last."""
    return np.ascontiguousarray(wide.image[:, first * 430 : last * 430])


def glass(wide: Mosaic) -> Image:
    """Empty slide, as it is between the cells of a field."""
    return np.full((600, 800, 3), np.median(wide.image[:40], axis=(0, 1)), np.uint8)


def statuses(bench: FieldBench) -> dict[str, str]:
    """Statuses by path and number of the cell, where they are not `ok`."""
    return {name: row["status"] for name, row in bench.rows().items() if row["status"] != "ok"}
