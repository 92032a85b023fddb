from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import adjusting

from cartcls.calibration.adapted_head import HomeCells, home_cells_file, read_home_cells
from cartcls.calibration.adjustment import check_adjustable, scale_factor, with_adjustment
from cartcls.calibration.cross_validation import LabelledCells
from cartcls.calibration.picture_measures import PictureMeasures, measure_pictures
from cartcls.runtime.bundle.bundle import Bundle, BundleFile, load_bundle
from cartcls.runtime.errors import BundleError, DataError, UsageError
from cartcls.runtime.images.adjust import Adjustment, adjust
from cartcls.runtime.images.resize import Image


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return load_bundle()


@pytest.fixture(scope="module")
def home(shipped: Bundle, crops: Image, labels: dict[str, str]) -> HomeCells:
    """The cells of the tests' slide, as if the bundle were calibrated on them."""
    names = [entry.name for entry in shipped.classes]
    found = np.array([names.index(label) for label in labels.values()])
    return HomeCells(np.zeros((32, 3968)), found, names, measure_pictures(crops))


def laboratory(folder: Path, crops: Image, labels: dict[str, str], change) -> LabelledCells:  # type: ignore[no-untyped-def]
    """The same cells in the pictures of another laboratory."""
    paths, classes = [], sorted(set(labels.values()))
    for place, crop in enumerate(crops):
        paths.append(f"{place}.png")
        cv2.imwrite(str(folder / paths[-1]), change(crop)[..., ::-1])
    return LabelledCells(paths, np.array([classes.index(label) for label in labels.values()]), classes, None)


def adjusted(
    bundle: Bundle, home: HomeCells, folder: Path, cells: LabelledCells, scale: bool, stain: bool
) -> tuple[Adjustment | None, list[str]]:
    said: list[str] = []
    return with_adjustment(bundle, folder, cells, home, scale, stain, said.append).adjustment, said


@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_the_factor_of_a_laboratory_is_found_and_told(
    shipped: Bundle, home: HomeCells, crops: Image, labels: dict[str, str], tmp_path: Path, factor: float
):
    cells = laboratory(tmp_path, crops, labels, lambda crop: adjust(crop, Adjustment(factor)))
    found, (said,) = adjusted(shipped, home, tmp_path, cells, True, False)
    assert found is not None
    assert found.scale == pytest.approx(1 / factor, rel=0.1)
    assert found.stain is None
    assert said == f"--scale: {found.sentence}, so that nuclei are as large as at home"


def test_colours_are_mapped_only_where_they_are_far(
    shipped: Bundle, home: HomeCells, crops: Image, labels: dict[str, str], tmp_path: Path
):
    near = laboratory(tmp_path, crops, labels, lambda crop: crop)
    found, (said,) = adjusted(shipped, home, tmp_path, near, False, True)
    assert found is None
    assert said.startswith("--stain: colours are near home's, and nothing is mapped (median distance ")

    def yellow(crop: Image) -> Image:
        return (crop * [0.95, 0.9, 0.5]).astype(np.uint8)

    far = laboratory(tmp_path, crops, labels, yellow)
    found, (said,) = adjusted(shipped, home, tmp_path, far, False, True)
    assert found is not None and found.stain is not None
    assert found.scale == 1
    assert said.startswith("--stain: colours are mapped to home's (median distance ")
    before, after = (
        np.mean([np.abs(image.astype(float) - crop) for image, crop in zip(images, crops, strict=True)])
        for images in ([yellow(crop) for crop in crops], [adjust(yellow(crop), found) for crop in crops])
    )
    assert after < before / 3


def test_sizes_are_compared_by_class_or_of_all_cells_where_none_is_shared():
    moments = np.zeros((4, 3, 3), np.float32)
    sizes = np.array([0.2, 0.2, 0.6, np.nan], np.float32)
    home = HomeCells(np.zeros((4, 5)), np.array([0, 0, 1, 1]), ["small", "large"], PictureMeasures(sizes, moments))
    cells = LabelledCells([""] * 4, np.array([0, 1, 1, 1]), ["large", "small"], None)
    assert scale_factor(np.array([0.3, 0.2, 0.2, np.nan]), cells, home) == pytest.approx(2**0.5)
    others = replace(cells, classes=["blast", "other"])
    assert scale_factor(np.array([0.3, 0.1, 0.1, np.nan]), others, home) == pytest.approx(2)
    with pytest.raises(DataError, match="no nucleus was found"):
        scale_factor(np.full(4, np.nan), cells, home)
    with pytest.raises(DataError, match=r"nuclei of home are 6\.00 times as large"):
        scale_factor(np.array([0.1, 1 / 30, 1 / 30, 1 / 30]), cells, home)


def test_a_bundle_that_does_not_know_its_pictures_or_adjusts_them_already_is_refused(shipped: Bundle, home: HomeCells):
    check_adjustable(shipped, home)
    with pytest.raises(BundleError, match=r"home\.npz has no sizes and colours .* calibrate the bundle again"):
        check_adjustable(shipped, replace(home, measures=None))
    with pytest.raises(UsageError, match="has pictures shrunk to 70% already: start from the bundle that it was"):
        check_adjustable(adjusting(shipped, Adjustment(0.7)), home)


def test_measures_come_back_from_a_bundle_and_old_ones_have_none(
    shipped: Bundle, home: HomeCells, monkeypatch: pytest.MonkeyPatch
):
    for measures in (home.measures, None):
        data = home_cells_file(home.features, home.labels, measures)
        monkeypatch.setattr(BundleFile, "read", lambda file, data=data: data)
        found = read_home_cells(shipped)
        assert len(found.labels) == 32
        assert (found.measures is None) == (measures is None)
        if measures and found.measures:
            np.testing.assert_array_equal(found.measures.moments, measures.moments)
            chosen = found.of(["neutrophil", "blast"])
            assert chosen.measures is not None and len(chosen.measures.diameters) == len(chosen.labels) == 4


def test_a_picture_that_cannot_be_read_is_named(shipped: Bundle, home: HomeCells, tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"junk")
    cells = LabelledCells(["broken.png"], np.array([0]), ["ig"], None)
    with pytest.raises(DataError, match=r"broken\.png .*: mend it, or take it out of the folder"):
        with_adjustment(shipped, tmp_path, cells, home, True, False, print)
