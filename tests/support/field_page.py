"""What tests ask of the fields in a page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from cartcls.runtime.ledger.folder import LEDGER
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import Cell

HOSTILE = "<img src=x onerror=document.title='gone'>.png"
SMUDGE = (50, 60, 70, 80)
Rows = list[list[Any]]


def edit(out: Path, kind: str, change: Callable[[Rows], Rows]) -> None:
    """Change a file of data of the page."""
    file = out / "slide" / "cells" / f"{kind}-0000.js"
    start = len(f"cartcls.{kind}(")
    rows = json.loads(file.read_text()[start:-2])
    file.write_text(f"cartcls.{kind}({json.dumps(change(rows))})\n")


def kept(out: Path) -> dict[int, Cell]:
    with Ledger(out / LEDGER) as ledger:
        (known,) = ledger.slides()
        return {cell.seq: cell for cell in known.cells()}


def focus(page: Page, seq: int) -> None:
    page.locator(f"#cells .cell[data-seq='{seq}']").focus()


def wait_for_focus(page: Page, where: str) -> None:
    """Wait until a box (`sheet 3`) or the card of a field (`list 1`, by its first row) has the focus."""
    page.wait_for_function(
        """where => {
          const { dataset, parentElement } = document.activeElement;
          return where === `${parentElement.id || "list"} ${dataset.seq ?? dataset.first}`;
        }""",
        arg=where,
        timeout=30_000,
    )


def sheet(page: Page) -> dict[str, float]:
    """Where the opened field lies on the screen."""
    return page.locator("#sheet").evaluate("sheet => sheet.getBoundingClientRect().toJSON()")
