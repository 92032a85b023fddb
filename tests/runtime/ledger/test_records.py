from dataclasses import replace

import numpy as np

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.records import Cell, Run

TIME = "2026-01-02T03:04:05Z"


def a_run() -> Run:
    return Run("s-1", "/data/s-1", "openvino", "bf16", "a processor", "0.1.0", TIME)


def a_cell(seq: int, path: str, index: int, confidence: float) -> Cell:
    probabilities = np.full(8, (1 - confidence) / 7)
    probabilities[index] = confidence
    label = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")[index]
    return Cell(seq, path, "ok", "", TIME, label, tuple(probabilities), f"thumbnails/{seq:06d}.jpg", "0" * 64, 360, 363)


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


def test_a_cell_that_a_person_has_settled_is_reviewed():
    cell = a_cell(1, "a.jpg", 0, 0.9)
    assert cell.present_status == "ok"
    assert replace(cell, corrected_label="ig").present_status == "reviewed"
    assert replace(cell, status="review", corrected_label="not a cell").present_status == "reviewed"
    assert replace(cell, corrected_label="unsure").present_status == "review"
