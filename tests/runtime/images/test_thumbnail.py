import io

import numpy as np
import PIL.Image
import pytest

from cartcls.runtime.images.resize import Image
from cartcls.runtime.images.thumbnail import NAMES, OUTLINE, outlined, overlay, pack, shrink, stretched, thumbnail


def opened(data: bytes) -> Image:
    with PIL.Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


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


def test_with_an_attention_there_are_three_pictures_each_with_its_name(crops: Image):
    small, cam = shrink(crops[0]), np.ones((12, 12), np.float32)
    attention = np.zeros((6, 6), np.float32)
    attention[:, 3:] = 0.4
    drawn = opened(thumbnail(small, cam, "lymphocyte  0.98", "#2f76c4", attention=attention))
    width = small.shape[1]
    assert drawn.shape == (180 + NAMES + 30, 3 * width, 3)
    cell, _, third = np.split(drawn[:180].astype(int), 3, axis=1)
    changed = np.abs(third - cell).max(2) > 60
    assert not changed[:, : width // 3].any()
    assert changed[:, -width // 3 :].mean() > 0.8
    letters = [(part < 100).any() for part in np.split(drawn[180 : 180 + NAMES], 3, axis=1)]
    assert letters == [True] * 3


def test_an_attention_is_shown_from_its_lowest_to_its_highest_and_not_where_it_is_even():
    found = stretched(np.array([[0.3, 0.4], [0.5, 0.7]], np.float32))
    assert found.ravel().tolist() == pytest.approx([0, 0.25, 0.5, 1])
    assert stretched(np.full((2, 2), 0.5, np.float32)).max() == 0
    assert stretched(np.array([[0.5, 0.501]], np.float32)).max() == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("box", [(0.25, 0.25, 0.5, 0.5), (0, 0, 1, 1), (1, 1, 0, 0)])
def test_a_box_is_a_line_around_what_is_in_it(crops: Image, box: tuple[float, ...]):
    small = shrink(crops[0])
    drawn = outlined(small, np.array(box, np.float32))
    height, width = small.shape[:2]
    changed = (drawn != small).any(2)
    rows, columns = np.flatnonzero((drawn == OUTLINE).all(2).any(1)), np.flatnonzero((drawn == OUTLINE).all(2).any(0))
    first, last = (min(round(box[1] * height), height - 1), min(round((box[1] + box[3]) * height), height))
    assert (rows[0], rows[-1] + 1) == (first, max(last, first + 1))
    first, last = (min(round(box[0] * width), width - 1), min(round((box[0] + box[2]) * width), width))
    assert (columns[0], columns[-1] + 1) == (first, max(last, first + 1))
    assert not changed[rows[0] + 1 : rows[-1], columns[0] + 1 : columns[-1]].any()
    assert changed.mean() < 0.05


def test_a_long_caption_is_whole_on_one_picture(crops: Image):
    text = "immature granulocyte  0.98"
    whole = opened(thumbnail(shrink(crops[0]), None, text, "#2f76c4"))[-14:]  # where no picture shows through
    assert (whole[:, -4:] > 200).all()  # nothing is cut off
    assert (whole[:, -40:-10] < 100).any()


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


def test_how_high_an_attention_is_follows_the_maps():
    cams = np.ones((3, 2, 4), np.float32)
    packed = pack(cams, np.array([[0.2, 0.4], [0.6, 1.0]], np.float32))
    assert packed[:-2] == pack(cams)
    assert list(packed[-2:]) == [51, 255]


def test_maps_that_are_too_large_to_keep_are_not_kept():
    assert pack(np.zeros((2, 300, 300), np.float32)) == b""
