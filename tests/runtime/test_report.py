import csv
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from cartcls.runtime.bundle import Bundle
from cartcls.runtime.discover import readable_name
from cartcls.runtime.report import Cell, Run, write_csv, write_summary

TIME = "2026-01-02T03:04:05Z"
COLUMNS = [
    *("seq", "slide", "path", "label", "confidence", "status", "reason"),
    *("p_basophil", "p_eosinophil", "p_erythroblast", "p_ig", "p_lymphocyte", "p_monocyte", "p_neutrophil"),
    *("p_platelet", "corrected_label", "corrected_by", "corrected_at", "thumbnail", "sha256", "width", "height"),
    *("bundle", "bundle_sha256", "backend", "precision", "version", "analysed_at"),
]


def a_run(bundle: Bundle) -> Run:
    return Run("s-1", "/data/s-1", bundle, "openvino", "bf16", "a processor", "0.1.0", TIME)


def a_cell(seq: int, path: str, index: int, confidence: float) -> Cell:
    probabilities = np.full(8, (1 - confidence) / 7)
    probabilities[index] = confidence
    label = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")[index]
    return Cell(seq, path, "ok", "", TIME, label, tuple(probabilities), f"thumbnails/{seq:06d}.jpg", "0" * 64, 360, 363)


class Tags(HTMLParser):
    """Collects tags, and the text of captions."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_table_has_the_promised_columns(tmp_path: Path, bundle: Bundle):
    cells = [a_cell(1, "a.jpg", 0, 0.9), Cell(2, "b.jpg", "rejected", "is empty (0 bytes)", TIME)]
    write_csv(tmp_path / "cells.csv", a_run(bundle), cells)
    with (tmp_path / "cells.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == COLUMNS
    assert rows[0]["label"] == "basophil"
    assert rows[0]["p_basophil"] == rows[0]["confidence"] == "0.900000"
    assert rows[0]["bundle_sha256"] == bundle.sha256
    assert (rows[1]["label"], rows[1]["p_basophil"], rows[1]["reason"]) == ("", "", "is empty (0 bytes)")


def test_hostile_names_stay_text(tmp_path: Path, bundle: Bundle):
    name = readable_name(b"<img src=x onerror=alert(1)>\"'&.jpg")
    write_summary(tmp_path, a_run(bundle), [a_cell(1, name, 0, 0.9), Cell(2, name, "rejected", "<script>", TIME)], 0)
    page = Tags((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("img") == 1
    assert "script" not in page.tags
    assert any(name in text for text in page.text)


def test_the_page_shows_the_least_certain_cells_first_and_says_what_it_is(tmp_path: Path, bundle: Bundle):
    cells = [a_cell(1, "certain.jpg", 4, 0.99), a_cell(2, "unsure.jpg", 4, 0.4), a_cell(3, "other.jpg", 4, 0.7)]
    summary = write_summary(tmp_path, a_run(bundle), cells, 5)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.index("unsure.jpg") < page.index("other.jpg") < page.index("certain.jpg")
    assert "For research use only" in page
    assert ("Uncalibrated" in page) != bundle.calibrated
    assert "Only 3 leukocytes" in page
    assert "no CAR-T class" in page
    assert summary["differential"]["leukocytes"] == 3
