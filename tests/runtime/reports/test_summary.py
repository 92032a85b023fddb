from samples import RUN, a_cell

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.reports.summary import summarize


def test_proposals_are_counted_with_and_without(bundle: Bundle):
    summary = summarize(bundle, RUN, [a_cell(1), a_cell(2, status="review")], 0)
    assert summary.awaiting_review == 1
    assert summary.differential.leukocytes == 2
    assert summary.differential_without_proposals is not None
    assert summary.differential_without_proposals.leukocytes == 1
    assert summarize(bundle, RUN, [a_cell(1)], 0).differential_without_proposals is None
    assert summary.calibration is None
