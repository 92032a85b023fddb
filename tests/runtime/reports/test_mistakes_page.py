import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeBackend
from playwright.sync_api import Browser

from cartcls.calibration.evaluate import evaluate
from cartcls.calibration.split import list_images
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle


@pytest.fixture
def file(data_dir: Path, tmp_path: Path, bundle: Bundle) -> Path:
    """The page of an evaluation by a model that says eosinophil of every cell."""
    folder = Path(shutil.copytree(data_dir, tmp_path / "cells"))
    evaluate(folder, list_images(folder), "x", tmp_path / "out", Classifier(bundle, FakeBackend()), lambda *_: None)
    return tmp_path / "out" / "mistakes.html"


def test_a_class_has_one_name_and_the_use_is_told(file: Path):
    text = file.read_text(encoding="utf-8")
    assert "for research use only" in text
    assert "<b>immature granulocyte</b> classified as <b>eosinophil</b>" in text
    assert ">ig<" not in text
    assert text.index("neutrophil</th>") < text.index("basophil</th>")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_window_and_the_matrix_has_the_grounds_colours(browser: Browser, file: Path, scheme: Any):
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for table in page.locator(".scroll").all():
        assert table.evaluate("element => element.scrollWidth <= element.clientWidth")
    assert page.locator(".confusion td:nth-child(5)").all_inner_texts() == ["4"] * 8  # all are called eosinophil
    assert page.locator("img[src='confusion.png']").count() == 0
    page.close()
