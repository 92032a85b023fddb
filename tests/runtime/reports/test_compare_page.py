import csv
import os
from pathlib import Path
from typing import Any

import pytest
from browsing import IN_CI
from counted import count_slides
from playwright.sync_api import Browser

from cartcls.calibration.compare import PAGE, compare
from cartcls.runtime.bundle.bundle import Bundle

AXE = os.environ.get("AXE")  # axe.min.js of the npm package axe-core
NORMAL = {"neutrophil": 120, "lymphocyte": 60, "monocyte": 12, "eosinophil": 6, "basophil": 2, "ig": 3}


@pytest.fixture(params=["counts", "cells"])
def file(request: pytest.FixtureRequest, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of a comparison, of independent counts or of the same cells."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    out = count_slides(tmp_path / "out", bundle, {f"s-{number}": NORMAL for number in range(12)})
    labels = [label for label, count in NORMAL.items() for _ in range(count)]
    paths = [f"{seq}.jpg" if request.param == "cells" else "" for seq in range(1, len(labels) + 1)]
    rows = [(f"s-{number}", *row) for number in range(12) for row in zip(paths, reversed(labels), strict=True)]
    with (tmp_path / "manual.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("slide", "path", "label"), *rows])
    compare(out, tmp_path / "manual.csv", tmp_path / "to")
    return tmp_path / "to" / PAGE


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_window_and_complains_of_nothing(browser: Browser, file: Path, scheme: Any):
    page, said = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for table in page.locator(".scroll").all():
        assert table.evaluate("element => element.scrollWidth <= element.clientWidth")
    for plot in page.locator(".plot svg").all():
        assert plot.evaluate("svg => [...svg.querySelectorAll('circle')].every(c => c.cx.baseVal.value >= 46)")
    assert said == []
    page.close()


@pytest.mark.skipif(not (AXE or IN_CI), reason="AXE does not name axe.min.js of the npm package axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_problem(browser: Browser, file: Path, scheme: Any):
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(file.as_uri())
    page.evaluate(Path(str(AXE)).read_text(encoding="utf-8"))
    assert [violation["id"] for violation in page.evaluate("axe.run()")["violations"]] == []
    context.close()
