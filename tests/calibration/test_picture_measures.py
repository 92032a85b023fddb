import cv2
import numpy as np
import pytest

from cartcls.calibration.picture_measures import density_moment, measure_pictures, nucleus_diameter
from cartcls.runtime.images.adjust import Adjustment, adjust
from cartcls.runtime.images.resize import Image

BACKGROUND, RED_CELL, CYTOPLASM, NUCLEUS = (230, 220, 215), (215, 180, 175), (190, 170, 205), (90, 50, 130)


def drawn(*nuclei: tuple[tuple[int, int], int]) -> Image:
    """A cell with these nuclei (place, radius) among red cells, 360×363."""
    image = np.full((363, 360, 3), BACKGROUND, np.uint8)
    for place in ((50, 60), (300, 70), (120, 310)):
        cv2.circle(image, place, 40, RED_CELL, -1)
    cv2.circle(image, (180, 181), 80, CYTOPLASM, -1)
    for place, radius in nuclei:
        cv2.circle(image, place, radius, NUCLEUS, -1)
    return image


@pytest.mark.parametrize("radius", [25, 40, 60])
def test_a_disc_has_its_diameter(radius: int):
    side = np.sqrt(360 * 363)
    assert nucleus_diameter(drawn(((180, 181), radius))) == pytest.approx(2 * radius / side, rel=0.07)


def test_all_lobes_count_and_nuclei_at_the_edge_do_not():
    one = nucleus_diameter(drawn(((180, 181), 28)))
    lobes = ((150, 160), 20), ((210, 200), 20)
    assert nucleus_diameter(drawn(*lobes)) == pytest.approx(one, rel=0.07)
    assert nucleus_diameter(drawn(*lobes, ((340, 340), 40))) == pytest.approx(one, rel=0.07)


def test_where_nothing_is_purple_there_is_no_nucleus():
    assert np.isnan(nucleus_diameter(np.full((363, 360, 3), BACKGROUND, np.uint8)))
    assert np.isnan(nucleus_diameter(drawn()[:90, :90]))


@pytest.mark.parametrize("scale", [0.6, 1.4])
def test_nuclei_of_real_cells_grow_with_the_picture(crops: Image, scale: float):
    before = measure_pictures(crops)
    after = measure_pictures(adjust(crop, Adjustment(scale)) for crop in crops)
    assert before.diameters.shape == (32,)
    assert np.median(after.diameters / before.diameters) == pytest.approx(scale, rel=0.05)


def test_the_moment_is_the_mean_of_the_products():
    image = np.array([[[255, 127, 63]]], np.uint8)
    assert np.allclose(density_moment(image) / np.log(2) ** 2, [[0, 0, 0], [0, 1, 2], [0, 2, 4]])
