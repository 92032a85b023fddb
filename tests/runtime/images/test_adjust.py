import numpy as np
import pytest

from cartcls.calibration.adjustment import stain_map
from cartcls.calibration.picture_measures import density_moment
from cartcls.runtime.images.adjust import Adjustment, adjust, box_of_picture, maps_of_picture, optical_densities
from cartcls.runtime.images.resize import Image

OF_NONE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def test_nothing_to_change_changes_nothing(crops: Image):
    for adjustment in (Adjustment(), Adjustment(1.0, OF_NONE)):
        np.testing.assert_array_equal(adjust(crops[0], adjustment), crops[0])


def dot(place: tuple[int, int]) -> Image:
    """A grey picture with a black square of nine pixels around a place."""
    image = np.full((121, 120, 3), 200, np.uint8)
    image[place[0] - 4 : place[0] + 5, place[1] - 4 : place[1] + 5] = 0
    return image


def centre_and_area(image: Image) -> tuple[float, float, float]:
    """Of what is dark: row and column from the middle, and area."""
    dark = 200 - image[..., 0].astype(float)
    rows, columns = np.mgrid[: dark.shape[0], : dark.shape[1]]
    middle = (np.array(dark.shape) - 1) / 2
    return *(
        (axis * dark).sum() / dark.sum() - at for axis, at in zip((rows, columns), middle, strict=True)
    ), dark.sum()


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.3, 2.0])
def test_a_picture_grows_about_its_centre(scale: float):
    row, column, area = centre_and_area(dot((70, 50)))
    found = adjust(dot((70, 50)), Adjustment(scale))
    assert (found.shape, found.dtype) == ((121, 120, 3), np.uint8)
    assert centre_and_area(found) == pytest.approx((row * scale, column * scale, area * scale**2), rel=0.06, abs=0.5)


def test_around_a_shrunk_picture_lies_its_usual_background(crops: Image):
    image = crops[0].copy()
    image[:30, :30] = 0  # as much of the border as a neighbour has
    found = adjust(image, Adjustment(0.5))
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert np.abs(found[0, 0].astype(float) - np.median(border, 0)).max() <= 1
    assert (found[: len(image) // 5] == found[0, 0]).all()


def test_colours_become_those_of_another_laboratory(crops: Image):
    own = (crops[::2].astype(float) * [0.95, 0.7, 0.8] + 10).astype(np.uint8)  # darker, and more purple

    def moment(images: Image) -> np.ndarray:
        return np.mean([density_moment(image) for image in images], 0)

    found = stain_map(moment(own), moment(crops[1::2]))
    mapped = np.stack([adjust(image, Adjustment(stain=found)) for image in own])
    before = np.abs(moment(own) - moment(crops[1::2])).max()
    assert np.abs(moment(mapped) - moment(crops[1::2])).max() < 0.1 * before
    assert np.allclose(stain_map(moment(own), moment(own)), np.eye(3))


def test_white_stays_white_and_densities_are_multiplied():
    image = np.array([[[255, 255, 255], [127, 63, 255]]], np.uint8)
    assert np.allclose(optical_densities(image)[0, 1] / np.log(2), [1, 2, 0])
    twice = ((2.0, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 1.0))
    assert adjust(image, Adjustment(stain=twice)).tolist() == [[[255, 255, 255], [63, 127, 255]]]


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_heat_lies_where_the_cell_is_in_the_picture_itself(scale: float):
    seen = adjust(dot((80, 45)), Adjustment(scale))
    heat = 200 - seen[..., 0].astype(np.float32)
    found = maps_of_picture(np.stack([heat, heat * 2]), scale)
    assert (found.shape, found.dtype) == ((2, 121, 120), np.float32)
    row, column, _ = centre_and_area(dot((80, 45)))
    for place, strength in enumerate((1, 2)):
        as_picture = (200 - found[place] / strength).clip(0, 255)[..., None].astype(np.uint8)
        assert centre_and_area(as_picture)[:2] == pytest.approx((row, column), abs=1)
    assert found[0].max() == pytest.approx(heat.max(), rel=0.05)


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.3, 2.0])
def test_a_box_lies_where_the_cell_is_in_the_picture_itself(scale: float):
    dark = np.argwhere(adjust(dot((70, 50)), Adjustment(scale))[..., 0] < 100)
    low, high = dark.min(0)[::-1] / (120, 121), (dark.max(0)[::-1] + 1) / (120, 121)
    found = box_of_picture(np.array([*low, *(high - low)], np.float32), scale)
    assert found * (120, 121, 120, 121) == pytest.approx((46, 66, 9, 9), abs=1.6)
    assert found.dtype == np.float32


def test_a_box_stays_within_the_picture():
    whole = np.array([0, 0, 1, 1], np.float32)
    assert box_of_picture(whole, 0.5).tolist() == [0, 0, 1, 1]  # what lies around a shrunk picture is none of it
    assert box_of_picture(whole, 2.0).tolist() == [0.25, 0.25, 0.5, 0.5]


def test_where_the_model_saw_nothing_there_is_no_heat():
    found = maps_of_picture(np.ones((1, 12, 12), np.float32), 2.0)
    assert found[0, 3:9, 3:9].min() == found.max() == 1
    assert found.sum() == 36
    assert maps_of_picture(np.ones((1, 12, 12), np.float32), 0.7) == pytest.approx(1)


@pytest.mark.parametrize("scale", [0.2, 4.5, float("nan"), float("inf"), -1.0])
def test_scales_that_no_laboratory_needs_are_refused(scale: float):
    with pytest.raises(ValueError, match=r"must be from 0\.25 to 4\.0"):
        Adjustment(scale)


def test_a_map_of_colours_is_of_finite_numbers():
    with pytest.raises(ValueError, match="finite"):
        Adjustment(1.0, ((1.0, 0.0, 0.0), (0.0, float("nan"), 0.0), (0.0, 0.0, 1.0)))


def test_it_says_what_it_does():
    assert Adjustment(1.4234).sentence == "pictures enlarged 1.42 times"
    assert Adjustment(0.7, OF_NONE).sentence == "pictures shrunk to 70%; colours mapped to home's"
    assert Adjustment(1.0, OF_NONE).sentence == "colours mapped to home's"
