import io

import numpy as np
import PIL.Image

from cartcls.runtime.images.resize import Image
from cartcls.runtime.images.thumbnail import overlay, pack, shrink, thumbnail


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


def test_packed_maps_hold_each_class_at_its_own_scale_and_how_strong_it_is():
    cams = np.zeros((3, 2, 4), np.float32)
    cams[0, 0], cams[1, 1, 3], cams[2] = [1, 2, 3, 4], 1, -5
    packed = np.frombuffer(pack(cams), np.uint8)
    assert packed[:3].tolist() == [3, 2, 4]
    assert packed[3:6].tolist() == [255, 64, 0]
    maps = packed[6:].reshape(3, 2, 4)
    assert maps[0].tolist() == [[64, 128, 191, 255], [0, 0, 0, 0]]
    assert maps[1, 1, 3] == 255
    assert not maps[2].any()


def test_maps_that_are_too_large_to_keep_are_not_kept():
    assert pack(np.zeros((2, 300, 300), np.float32)) == b""
