import cv2
import numpy as np
import pytest
from mosaic import HOME_DIAMETER, Mosaic, scaled

from cartcls.runtime.errors import ScaleError
from cartcls.runtime.fields.scale import RED_CELL_UM, diameter_of, mpp_of, red_cell_diameter, slide_diameter
from cartcls.runtime.images.resize import Image

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.34])
def test_red_cells_tell_the_scale_at_any_magnification(field: Mosaic, scale: float):
    assert red_cell_diameter(scaled(field, scale).image) == pytest.approx(scale * HOME_DIAMETER, rel=0.13)


def test_wide_fields_are_searched_by_tiles(field: Mosaic):
    wide = np.tile(field.image, (3, 3, 1))
    small = np.asarray(cv2.resize(wide, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    assert 0.03 * max(small.shape) > HOME_DIAMETER / 2  # smaller than what is tried in the whole field
    assert red_cell_diameter(small) == pytest.approx(HOME_DIAMETER / 2, rel=0.13)


NOTHING: dict[str, Image] = {
    "empty glass": np.clip(RANDOM.normal((228, 225, 220), 2, (480, 640, 3)), 0, 255).astype(np.uint8),
    "one colour": np.full((480, 640, 3), 200, np.uint8),
    "black": np.zeros((480, 640, 3), np.uint8),
    "noise": RANDOM.integers(0, 256, (480, 640, 3)).astype(np.uint8),
    "a line": np.full((1, 10_000, 3), 200, np.uint8),
    "a pixel": np.zeros((1, 1, 3), np.uint8),
}


@pytest.mark.parametrize("image", NOTHING.values(), ids=list(NOTHING))
def test_where_no_red_cells_are_there_is_no_scale(image: Image):
    assert red_cell_diameter(image) is None


def test_inverted_fields_have_no_scale(field: Mosaic):
    assert red_cell_diameter(255 - field.image) is None


def test_the_scale_of_a_slide_is_the_median_of_its_fields():
    assert slide_diameter([70.0, None, 140.0, 74.0]) == 74.0
    with pytest.raises(ScaleError, match="--mpp"):
        slide_diameter([None, None])


def test_micrometres_are_those_of_a_red_cell():
    assert diameter_of(RED_CELL_UM) == 1
    assert mpp_of(diameter_of(0.1)) == pytest.approx(0.1)
