from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from mosaic import HOME_DIAMETER
from msgspec import UNSET, structs

from cartcls.calibration.home_scale import FEWEST, with_home_scale, with_own_home_scale
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.bundle.manifest import HomeScale
from cartcls.runtime.fields.scale import RED_CELL_UM
from cartcls.runtime.fields.stain import background
from cartcls.runtime.images.adjust import Adjustment
from cartcls.runtime.images.resize import Image

HOME = HomeScale(72.0, 360, 363, RED_CELL_UM / 72, 100)


@pytest.fixture(scope="module")
def start() -> Bundle:
    """A bundle that says another size than its crops show, to tell what was measured."""
    shipped = load_bundle()
    return replace(shipped, manifest=structs.replace(shipped.manifest, home_scale=HOME))


def written(folder: Path, crops: Image, change: Callable[[Image], Image] = lambda crop: crop) -> list[Path]:
    files = [folder / f"{place}.png" for place in range(len(crops))]
    for file, crop in zip(files, crops, strict=True):
        cv2.imwrite(str(file), change(crop)[..., ::-1])
    return files


def middle(crop: Image) -> Image:
    """The half of it, where a red cell is 0.4 sides wide: more than is tried."""
    height, width = crop.shape[:2]
    return crop[height // 4 : -height // 4, width // 4 : -width // 4]


def near(crop: Image) -> Image:
    """The middle of it, where a red cell is 0.33 sides wide: some seem as large as the largest that is tried."""
    return np.ascontiguousarray(crop[67:-67, 67:-67])


def alone(crop: Image) -> Image:
    """The cell in the middle, on an empty slide: the nucleus is the largest circle."""
    mask = np.zeros((*crop.shape[:2], 1), np.float32)
    cv2.circle(mask, (crop.shape[1] // 2, crop.shape[0] // 2), 50, 1.0, -1)
    return (crop * mask + np.array(background(crop), np.float32) * (1 - mask)).astype(np.uint8)


def half_as_large(crop: Image) -> Image:
    return np.asarray(cv2.resize(crop, (180, 182), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize("adapted", [False, True])
def test_red_cells_are_measured_in_the_crops_own_pixels(start: Bundle, originals: Image, tmp_path: Path, adapted: bool):
    files, said = written(tmp_path, originals, half_as_large), list[str]()
    made = (
        with_own_home_scale(start, files, False, said.append) if adapted else with_home_scale(start, files, said.append)
    )
    found = made.home_scale
    assert found is not None
    assert found.red_cell_px == pytest.approx(HOME_DIAMETER / 2, rel=0.07)
    assert (found.crop_width, found.crop_height) == (180, 182)
    assert found.mpp == pytest.approx(RED_CELL_UM / found.red_cell_px)
    assert FEWEST <= found.cells <= len(originals)
    assert said == []


def test_the_shipped_bundle_says_what_its_crops_show(originals: Image, tmp_path: Path):
    shipped = load_bundle().home_scale
    assert shipped is not None
    assert (shipped.crop_width, shipped.crop_height) == (360, 363)
    assert shipped.red_cell_px == pytest.approx(HOME_DIAMETER, rel=0.01)
    found = with_home_scale(load_bundle(), written(tmp_path, originals), print).home_scale
    assert found is not None and found.red_cell_px == pytest.approx(shipped.red_cell_px, rel=0.07)


def test_crops_of_unusual_size_do_not_count(start: Bundle, originals: Image, tmp_path: Path):
    (tmp_path / "more").mkdir()
    files = written(tmp_path, originals) + written(tmp_path / "more", originals[:12], half_as_large)
    found = with_home_scale(start, files, print).home_scale
    assert found is not None
    assert (found.crop_width, found.cells <= len(originals)) == (360, True)
    assert found.red_cell_px == pytest.approx(HOME_DIAMETER, rel=0.07)


@pytest.mark.parametrize("change", [middle, near, alone])
def test_crops_that_do_not_tell_change_nothing_when_calibrated_and_leave_it_open_when_adapted(
    start: Bundle, originals: Image, tmp_path: Path, change: Callable[[Image], Image]
):
    files, said = written(tmp_path, originals, change), list[str]()
    assert with_home_scale(start, files, said.append).home_scale == HOME
    assert with_own_home_scale(start, files, False, said.append).home_scale is None
    assert said == [
        f"too few crops show red cells to tell their size: what {start.directory} says of it stays",
        "too few crops show red cells to tell their size: this bundle cannot classify whole fields",
    ]


def test_few_crops_do_not_tell(start: Bundle, originals: Image, tmp_path: Path):
    files = written(tmp_path, originals[: FEWEST - 1])
    assert with_own_home_scale(start, files, False, print).home_scale is None


def test_nuclei_that_were_compared_tell_the_size_where_red_cells_do_not(
    start: Bundle, originals: Image, tmp_path: Path
):
    """Nuclei are twice as large a share of these crops as at home, and so are red cells."""
    files, said = written(tmp_path, originals, middle), list[str]()
    scaled = replace(start, manifest=structs.replace(start.manifest, adjustment=Adjustment(0.5)))
    found = with_own_home_scale(scaled, files, True, said.append).home_scale
    assert found is not None
    assert found.red_cell_px == pytest.approx(HOME.red_cell_px, rel=0.02)
    assert (found.crop_width, found.crop_height, found.cells) == (180, 182, 0)
    assert said == ["too few crops show red cells to tell their size: taken from that of the nuclei"]
    assert with_own_home_scale(scaled, files, False, said.append).home_scale is None
    unknown = replace(scaled, manifest=structs.replace(scaled.manifest, home_scale=UNSET))
    assert with_own_home_scale(unknown, files, True, said.append).home_scale is None
