"""A browser, and what a test asks of a page in it."""

import csv
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
IN_CI = os.environ.get("CI") == "true"  # where nothing is skipped


@contextmanager
def chromium_started() -> Iterator[Browser]:
    """Chromium; the test is skipped where there is none, but not in CI."""
    if not (CHROMIUM or IN_CI):
        pytest.skip("no chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def reload(page: Page) -> None:
    page.reload()
    page.wait_for_selector("body[data-ready]")


def shown(page: Page) -> list[int]:
    return [int(seq) for seq in page.eval_on_selector_all("#cells .cell", "cells => cells.map(c => c.dataset.seq)")]


def saved(page: Page, file: Path) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "corrections-slide.csv"
    download.value.save_as(file)
    with file.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))
