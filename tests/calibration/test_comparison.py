from pathlib import Path

from cartcls.calibration.comparison import compare_counts, same_cells
from cartcls.calibration.references import LabelledCell, Labels
from cartcls.runtime.bundle.bundle import Bundle

A, B = (0, 0, 10, 10), (20, 0, 10, 10)


def labels(*cells: LabelledCell) -> Labels:
    return Labels(Path("x"), list(cells))


def test_cells_of_a_field_go_by_their_boxes_and_never_by_its_path(bundle: Bundle):
    reports = labels(LabelledCell("s", "f.png", "monocyte", "1", A), LabelledCell("s", "f.png", "basophil", "1", B))
    other = labels(LabelledCell("t", "g.png", "ig", "1", B))
    found = same_cells(reports, other, bundle)
    assert found is not None
    assert (found.slides, found.labels, found.confusion) == (["s"], ["basophil", "ig"], [[0, 0], [1, 0]])
    assert (found.only_reports, found.only_reference) == (1, 0)
    one = labels(LabelledCell("s", "f.png", "monocyte", "1", A))
    assert same_cells(one, labels(LabelledCell("s", "f.png", "monocyte")), bundle) is None


def test_the_slides_own_label_goes_before_that_of_the_same_bytes_elsewhere(bundle: Bundle):
    reference = labels(LabelledCell("s", "", "monocyte", "1"), LabelledCell("t", "", "basophil", "1"))
    found = same_cells(labels(LabelledCell("s", "1.jpg", "monocyte", "1")), reference, bundle)
    assert found is not None and found.agreed == 1


def test_a_slide_without_leukocytes_is_not_compared(bundle: Bundle):
    reports = labels(LabelledCell("s", "1.jpg", "platelet"), LabelledCell("t", "1.jpg", "monocyte"))
    reference = labels(LabelledCell("s", "", "monocyte"), LabelledCell("t", "", "monocyte"))
    found = compare_counts(reports, reference, bundle)
    assert found.slides == ["t"]
    assert {counts.agreement for counts in found.classes} == {None}  # of one slide
    assert found.outside == 0
