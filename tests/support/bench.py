"""A slide that `batch` classifies again and again while its files change, and what a test does to files."""

import csv
import os
import shutil
from pathlib import Path

import pytest
from fakes import FakeBackend
from reviewer import corrections

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.inference.backend import Backend
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.reports.corrections import correct
from cartcls.runtime.reports.rebuild import verify_reports
from cartcls.runtime.reports.summary import Summary
from cartcls.runtime.slides import recognize
from cartcls.runtime.slides.batch import classify_slide

Rows = dict[str, dict[str, str]]


def run(slide: Path, out: Path, bundle: Bundle, backend: Backend) -> tuple[list[dict[str, str]], Summary, Path]:
    """Rows, summary and folder of the report of a slide that is classified once."""
    with open_ledger(out, bundle) as ledger:
        directory, summary = classify_slide(slide, out, Classifier(bundle, backend), ledger)
    with (directory / "cells.csv").open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file)), summary, directory


class Bench:
    """A slide of eight real cells, which `batch` classifies again and again."""

    def __init__(self, root: Path, slide: Path, bundle: Bundle):
        self.folder, self.out, self.bundle = root / "slide", root / "out", bundle
        self.folder.mkdir()
        for number in range(1, 9):
            shutil.copy(slide / f"cell-{number:02d}.jpg", self.path(number))
        self.batches: list[int] = []
        self.said: list[str] = []
        self.summary: Summary

    def path(self, number: int) -> Path:
        return self.folder / f"{number}.jpg"

    def batch(self) -> Rows:
        """Rows by path; `batches` has what was classified for them."""
        self.batches.clear()
        self.said.clear()
        classifier = Classifier(self.bundle, FakeBackend(seen=self.batches))
        with open_ledger(self.out, self.bundle) as ledger:
            _, self.summary = classify_slide(self.folder, self.out, classifier, ledger, notify=self.said.append)
        assert not any(slide.differences for slide in verify_reports(self.out))
        return self.rows()

    def rows(self) -> Rows:
        with (self.out / "slide" / "cells.csv").open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        assert [row["seq"] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
        assert len({row["path"] for row in rows}) == len(rows)
        return {row["path"]: row for row in rows}

    def correct(self, *changes: tuple[int, str]) -> None:
        correct(self.out, corrections(self.out, *changes), "Ada")


def statuses(rows: Rows) -> dict[str, str]:
    return {path: row["status"] for path, row in rows.items() if row["status"] != "ok"}


def without_path(row: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in ("path", "reason", "status")}


def rewrite_unseen(file: Path, data: bytes) -> None:
    """Write other bytes of the same size in place, and set the times back."""
    before = file.stat()
    with file.open("r+b") as handle:
        handle.write(data[: before.st_size].ljust(before.st_size, b"\0"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def count_reads(patch: pytest.MonkeyPatch) -> list[bytes]:
    read: list[bytes] = []
    original = recognize.hash_file
    patch.setattr(recognize, "hash_file", lambda path, limit: read.append(path) or original(path, limit))
    return read


def touch(file: Path) -> None:
    file.chmod(0o600 if file.stat().st_mode & 0o077 else 0o644)
