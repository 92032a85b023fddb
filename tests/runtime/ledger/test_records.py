from dataclasses import replace

from samples import a_cell

from cartcls.runtime.ledger.records import Cell


def test_what_a_cell_counts_as():
    cell = a_cell(label="basophil")
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
    for label in (None, "ig", "unsure"):
        assert counts(replace(cell, status="gone", corrected_label=label)) == (None, False)
        assert replace(cell, status="gone", corrected_label=label).present_status == "gone"


def test_a_cell_that_a_person_has_settled_is_reviewed():
    cell = a_cell(label="basophil")
    assert cell.present_status == "ok"
    assert replace(cell, corrected_label="ig").present_status == "reviewed"
    assert replace(cell, status="review", corrected_label="not a cell").present_status == "reviewed"
    assert replace(cell, corrected_label="unsure").present_status == "review"
