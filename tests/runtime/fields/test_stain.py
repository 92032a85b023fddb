import cv2
import numpy as np
import pytest
from mosaic import HOME_DIAMETER, Mosaic

from cartcls.runtime.fields.stain import background, stain_of

EMPTY, RED_CELL = (250, 226, 202), (200, 160, 150)


def test_the_empty_slide_is_the_brightest_frequent_colour():
    image = np.full((400, 400, 3), RED_CELL, np.uint8)
    cv2.circle(image, (200, 200), 60, (80, 40, 140), -1)
    image[:, :100] = EMPTY
    image[10:14, 100:104] = 255  # a reflection
    assert background(image) == pytest.approx(EMPTY, abs=1)


def test_a_field_of_one_colour_is_empty():
    assert background(np.full((50, 50, 3), EMPTY, np.uint8)) == EMPTY
    assert background(np.zeros((50, 50, 3), np.uint8)) == (255, 255, 255)


def test_no_white_balance_changes_what_is_purple(field: Mosaic):
    image = field.image[:800, :800]
    warm = np.clip(image * np.array((0.95, 0.8, 0.6)), 0, 255).astype(np.uint8)
    one, other = (stain_of(picture, HOME_DIAMETER, background(picture)) for picture in (image, warm))
    assert np.abs(one.purple - other.purple).max() < 0.25
    assert np.abs(one.purple - other.purple).mean() < 0.01
    assert other.nucleus == pytest.approx(one.nucleus, abs=0.05)


def test_nuclei_are_told_from_red_cells_without_a_mode_of_theirs():
    image = np.full((300, 300, 3), EMPTY, np.uint8)
    cv2.circle(image, (150, 150), 100, (80, 40, 140), -1)
    stain = stain_of(image, HOME_DIAMETER, background(image))
    assert (stain.purple > stain.nucleus)[150, 150]
    assert not (stain.purple > stain.nucleus)[20, 20]
