import cv2
import numpy as np
import pytest
from mosaic import HOME_DIAMETER, Mosaic

from cartcls.runtime.fields.plane import LIMIT, WORK, Plane, plane_of


def test_a_plane_is_the_green_channel_with_red_cells_of_one_size(field: Mosaic):
    plane = plane_of(field.image, HOME_DIAMETER)
    assert (plane.width, plane.height) == (field.image.shape[1], field.image.shape[0])
    assert plane.scale == WORK / HOME_DIAMETER
    assert plane.pixels.shape == tuple(round(side * plane.scale) for side in field.image.shape[:2])
    assert plane.pixels.mean() == pytest.approx(field.image[..., 1].mean(), abs=1)


def test_a_small_field_is_enlarged(field: Mosaic):
    small = cv2.resize(field.image, None, fx=8 / HOME_DIAMETER, fy=8 / HOME_DIAMETER, interpolation=cv2.INTER_AREA)
    plane = plane_of(np.asarray(small, np.uint8), 8)
    assert plane.pixels.shape[1] == pytest.approx(1.5 * small.shape[1], abs=1)


def test_packing_loses_nothing_and_is_small(field: Mosaic):
    plane = plane_of(field.image, HOME_DIAMETER)
    data = plane.pack()
    again = Plane.unpack(data)
    assert (again.pixels == plane.pixels).all()
    assert (again.width, again.height, again.scale) == (plane.width, plane.height, plane.scale)
    assert len(data) < 0.9 * plane.pixels.size


@pytest.mark.parametrize("length", [0, 3, 16, 20])
def test_a_plane_cut_short_is_refused(field: Mosaic, length: int):
    data = plane_of(field.image, HOME_DIAMETER).pack()
    with pytest.raises(ValueError, match="damaged"):
        Plane.unpack(data[:length])


def test_detail_does_not_depend_on_brightness_or_contrast(field: Mosaic):
    plane = plane_of(field.image, HOME_DIAMETER)
    pale = Plane((plane.pixels // 2 + 90).astype(np.uint8), plane.width, plane.height, plane.scale)
    assert np.corrcoef(plane.detail.ravel(), pale.detail.ravel())[0, 1] > 0.97
    assert np.abs(plane.detail.astype(int)).max() == LIMIT


def test_glass_has_no_detail():
    shade = np.linspace(200, 235, 640)[None, :, None] + np.random.default_rng(0).normal(0, 3, (480, 640, 3))
    assert not plane_of(shade.astype(np.uint8), 97).detail.any()
