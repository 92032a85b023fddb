"""A browser, and what a test asks of a page in it."""

import csv
import os
import shutil
from pathlib import Path

from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
IN_CI = os.environ.get("CI") == "true"  # where nothing is skipped


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
