"""A station in another process, and a reviewer before its pages."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browsing import shown
from playwright.sync_api import Page, expect

PATIENCE = 60_000.0  # ms


@contextmanager
def station(out: Path, port: str = "0") -> Iterator[str]:
    """A station; its link."""
    command = [sys.executable, "-m", "cartcls.cli", "review", os.fspath(out), "--no-open", "--port", port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
        assert process.wait(60) == 0


def see_all(page: Page) -> None:
    """Scroll through all cells, until nothing keeps the reviewer from signing."""
    for seq in shown(page):
        page.locator(f".cell[data-seq='{seq}']").scroll_into_view_if_needed()
        expect(page.locator(f".cell[data-seq='{seq}'] img")).to_have_js_property("complete", True)
    expect(page.locator("#sign")).to_be_enabled()
