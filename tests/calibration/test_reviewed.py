import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cartcls.calibration.cross_validation import LabelledCells
from cartcls.calibration.own_cells import FOLDS
from cartcls.calibration.reviewed import Reviewed, check_enough, check_unbiased, folds_of_whole, read_reviewed
from cartcls.runtime.bundle.calibration import Extent
from cartcls.runtime.errors import DataError
from cartcls.runtime.reports.export_reviewed import ExportedSlide, ExportSummary

NAMES = ["ig", "monocyte"]


def cells_of(slides: Sequence[str], of_each: int = 1) -> LabelledCells:
    """So many cells of each class on each slide."""
    found = [(f"{name}/{slide}-{n}.jpg", name, slide) for slide in slides for name in NAMES for n in range(of_each)]
    paths, names, groups = zip(*sorted(found), strict=True)
    return LabelledCells([*paths], np.array([NAMES.index(name) for name in names]), NAMES, [*groups])


def write_export(folder: Path, cells: LabelledCells, extents: dict[str, Extent]) -> Path:
    """The files of an export that say how its slides were reviewed."""
    slides = [ExportedSlide(f"slide {slide}", "", "", extent, 9, 9, 9, slide) for slide, extent in extents.items()]
    extent: Extent = "flagged" if "flagged" in extents.values() else "all"
    (folder / "cartcls-export.json").write_bytes(msgspec.json.encode(ExportSummary(extent, 9, "b", "0", slides)))
    rows = [f"{path},{slide}\n" for path, slide in zip(cells.paths, cells.groups or (), strict=True)]
    rows += [f"{path},{path.partition('/')[2][:2]}\n" for path in cells.copy_of]
    (folder / "groups.csv").write_text("path,slide\n" + "".join(rows))
    return folder


def test_cells_of_flagged_slides_are_learned_from_in_each_fold_and_never_tested():
    cells = cells_of([f"s{number}" for number in range(9)], 2)
    whole = np.array([group < "s6" for group in cells.groups or ()])
    divided = folds_of_whole(cells, whole, FOLDS, 0)
    assert sorted(np.concatenate([test for _, test in divided])) == np.flatnonzero(whole).tolist()
    for train, test in divided:
        assert set(np.flatnonzero(~whole)) <= set(train)
        assert sorted([*train, *test]) == list(range(len(cells.paths)))


def test_a_flagged_cell_of_a_patient_is_not_learned_from_where_another_of_the_patient_is_tested():
    cells = cells_of([f"s{number}" for number in range(6)], 2)
    whole = np.array([not path.endswith("s3-1.jpg") for path in cells.paths])
    groups = np.array(cells.groups)
    together = 0
    for train, test in folds_of_whole(cells, whole, FOLDS, 0):
        assert not set(groups[train]) & set(groups[test])
        together += "s3" in groups[test]
    assert together == 1


def test_without_flagged_slides_all_is_tested(tmp_path: Path):
    cells = cells_of(["s0", "s1"])
    assert read_reviewed(tmp_path, cells) is None
    found = read_reviewed(write_export(tmp_path, cells, {"s0": "all", "s1": "all"}), cells)
    assert found is not None
    assert found.extents == {"s0": "all", "s1": "all"}
    assert found.whole.all()


def test_slides_of_an_export_that_were_reviewed_whole_are_told_apart(tmp_path: Path):
    cells = cells_of(["s0", "s1"])
    cells.copy_of["ig/s0-9.jpg"] = "ig/s1-0.jpg"  # so that this cell is of a slide that was reviewed whole, too
    found = read_reviewed(write_export(tmp_path, cells, {"s0": "all", "s1": "flagged"}), cells)
    assert found is not None
    assert dict(zip(cells.paths, found.whole, strict=True)) == {
        "ig/s0-0.jpg": True,
        "ig/s1-0.jpg": True,
        "monocyte/s0-0.jpg": True,
        "monocyte/s1-0.jpg": False,
    }
    write_export(tmp_path, cells, {"s0": "flagged"})
    with pytest.raises(DataError, match=r"cartcls-export\.json does not tell how slide s1 was reviewed: export again"):
        read_reviewed(tmp_path, cells)
    (tmp_path / "groups.csv").write_text("path,slide\nig/s0-0.jpg,s0\n")
    with pytest.raises(DataError, match=r"groups\.csv: no group for 4 image\(s\): .* add a line for each"):
        read_reviewed(tmp_path, cells)


@pytest.mark.parametrize(
    ("slides", "whole", "said"),
    [
        (6, 0, r"0 such slides\. Review all cells of at least 5 more, and export again$"),
        (6, 3, r"3 such slides, with 3 of ig, 3 of monocyte\. Review all cells of at least 2 more"),
        (6, 5, None),
    ],
)
def test_too_little_that_was_reviewed_whole_is_refused(tmp_path: Path, slides: int, whole: int, said: str | None):
    cells = cells_of([f"s{number}" for number in range(slides)])
    reviewed = Reviewed({}, np.array([group < f"s{whole}" for group in cells.groups or ()]))
    if said is None:
        check_enough(tmp_path, cells, reviewed, FOLDS)
        return
    with pytest.raises(
        DataError,
        match=rf"at least 5 slides that were reviewed whole, and 5 cells of each class on them\. There are {said}",
    ):
        check_enough(tmp_path, cells, reviewed, FOLDS)


def test_a_class_of_flagged_slides_alone_is_refused(tmp_path: Path):
    cells = cells_of([f"s{number}" for number in range(9)])
    reviewed = Reviewed({}, np.array([path.startswith("ig") for path in cells.paths]))
    with pytest.raises(
        DataError, match=r"9 such slides, with 0 of monocyte\. .* or move the folder of a class with too few elsewhere"
    ):
        check_enough(tmp_path, cells, reviewed, FOLDS)


def test_an_export_with_flagged_slides_makes_no_figure_of_all_its_cells(tmp_path: Path):
    check_unbiased(tmp_path)
    cells = cells_of(["s0", "s1"])
    check_unbiased(write_export(tmp_path, cells, {"s0": "all", "s1": "all"}))
    write_export(tmp_path, cells, {"s0": "all", "s1": "flagged"})
    with pytest.raises(DataError, match=r"only flagged cells were reviewed: .* biased\. Review every cell"):
        check_unbiased(tmp_path)
    (tmp_path / "cartcls-export.json").write_text(json.dumps({"reviewed": "all"}))
    with pytest.raises(DataError, match=r"cannot be read .*: export the corrections again"):
        check_unbiased(tmp_path)
