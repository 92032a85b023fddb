import numpy as np
import pytest
from mosaic import HOME_DIAMETER, Mosaic, scaled

from cartcls.runtime.fields.cut import cut
from cartcls.runtime.fields.find import Found, find
from cartcls.runtime.images.resize import Image

SIZE = 360, 363


def crop_at(image: Image, middle: tuple[float, float], diameter: float, home: float = HOME_DIAMETER) -> Image:
    cell = Found(round(middle[0]) - 40, round(middle[1]) - 40, 80, 80)
    return cut(image, cell, diameter, (250.0, 225.0, 200.0), home, *SIZE)


def test_a_crop_at_the_training_cells_scale_is_the_field_itself(field: Mosaic):
    x, y = (round(side) for side in field.middles[5])
    expected = field.image[y - 182 : y + 181, x - 180 : x + 180]
    assert (crop_at(field.image, (x, y), HOME_DIAMETER) == expected).all()


@pytest.mark.parametrize("scale", [0.5, 1.34])
def test_a_crop_is_as_large_at_any_magnification(field: Mosaic, scale: float):
    made = scaled(field, scale)
    middle = field.middles[5]
    one = crop_at(field.image, middle, HOME_DIAMETER).astype(float)
    other = crop_at(made.image, (middle[0] * scale, middle[1] * scale), HOME_DIAMETER * scale).astype(float)
    assert other.shape == one.shape
    assert np.abs(one - other).mean() < 6


def test_beyond_the_border_the_slide_is_empty(field: Mosaic):
    crop = crop_at(field.image, (0, 0), HOME_DIAMETER)
    assert (crop[:180, :179] == (250, 225, 200)).all()
    assert (crop[182:, 180:] == field.image[:181, :180]).all()


def test_the_home_scale_is_the_callers(field: Mosaic):
    middle = field.middles[5]
    wide, close = (crop_at(field.image, middle, HOME_DIAMETER, home) for home in (50.0, 100.0))
    stained = [np.count_nonzero(crop[..., 1] < 150) for crop in (wide, close)]
    assert stained[1] > 2 * stained[0] or len(find(close, 100.0).cells) == 1
