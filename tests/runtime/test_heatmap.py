import io

import numpy as np
import PIL.Image

from cartcls.runtime.heatmap import overlay, shrink, thumbnail
from cartcls.runtime.preprocess import Image


def test_a_crop_is_unchanged_where_nothing_speaks_for_the_class(crops: Image):
    assert (overlay(crops[0], np.full((12, 12), -1, np.float32)) == crops[0]).all()


def test_heat_lies_where_the_map_is_positive(crops: Image):
    cam = np.zeros((12, 12), np.float32)
    cam[:4, :4] = 1
    changed = (overlay(crops[0], cam) != crops[0]).any(2)
    assert changed[:100, :100].all()
    assert not changed[200:, 200:].any()


def test_a_thumbnail_shows_crop_and_heat_map_or_the_crop_alone(crops: Image):
    small = shrink(crops[0])
    sizes = []
    for cam in (np.ones((12, 12), np.float32), None):
        with PIL.Image.open(io.BytesIO(thumbnail(small, cam, "lymphocyte  0.98", "#2f76c4"))) as picture:
            sizes.append(picture.size)
    width = small.shape[1]
    assert sizes == [(2 * width, 210), (width, 210)]


def test_very_wide_crops_give_a_bounded_thumbnail():
    assert shrink(np.zeros((10, 5000, 3), np.uint8)).shape == (180, 720, 3)
