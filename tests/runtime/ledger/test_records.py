import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.records import Cell, Run, write_csv

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


def test_what_a_cell_counts_as(bundle: Bundle):
    cell = a_cell(1, "a.jpg", 0, 0.9)
    flagged = replace(cell, status="review")

    def counts(cell: Cell) -> tuple[str | None, bool]:
        return cell.counts_as, cell.awaits_review

    assert counts(cell) == ("basophil", False)
    assert counts(flagged) == ("basophil", True)
    assert counts(replace(flagged, corrected_label="basophil")) == ("basophil", False)
    assert counts(replace(flagged, corrected_label="ig")) == ("ig", False)
    assert counts(replace(cell, corrected_label="unsure")) == ("basophil", True)
    assert counts(replace(flagged, corrected_label="not a cell")) == (None, False)
    assert counts(replace(cell, status="duplicate")) == (None, False)
