from dataclasses import replace

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.records import Cell, Run
from cartcls.runtime.reports.summary import summarize

TIME = "2026-01-02T03:04:05Z"


def test_proposals_are_counted_with_and_without(bundle: Bundle):
    run = Run("s-1", "/data/s-1", "openvino", "bf16", "a processor", "0.1.0", TIME)
    cell = Cell(1, "a.jpg", "ok", "", TIME, "lymphocyte", (0.9,))
    summary = summarize(bundle, run, [cell, replace(cell, seq=2, status="review")], 0)
    assert summary.awaiting_review == 1
    assert summary.differential.leukocytes == 2
    assert summary.differential_without_proposals is not None
    assert summary.differential_without_proposals.leukocytes == 1
    assert summarize(bundle, run, [cell], 0).differential_without_proposals is None
    assert summary.calibration is None
