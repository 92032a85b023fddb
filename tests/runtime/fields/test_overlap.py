import cv2
import numpy as np
import pytest
from mosaic import HOME_DIAMETER, Mosaic

from cartcls.runtime.fields.find import find
from cartcls.runtime.fields.overlap import Shift, same_cells, shift_between
from cartcls.runtime.fields.plane import plane_of
from cartcls.runtime.images.resize import Image

RANDOM = np.random.default_rng(0)


def camera(image: Image) -> Image:
    """The same with the noise of another exposure, a little darker."""
    return np.clip(0.96 * image + RANDOM.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def lies(first: Image, second: Image) -> Shift | None:
    """How the second field lies on the first."""
    return shift_between(plane_of(first, HOME_DIAMETER), plane_of(second, HOME_DIAMETER))


WHOLE = 90  # pixels from a cell's middle to the border: no cell is cut there
SECOND = {
    "corner": (530, 380),
    "other corner": (-530, 380),
    "right": (480, 30),
    "left": (-500, -40),
    "below": (25, 420),
    "above": (-60, -450),
    "the same": (0, 0),
}


@pytest.mark.parametrize("shift", SECOND.values(), ids=list(SECOND))
def test_neighbours_of_one_picture_are_put_together(field: Mosaic, shift: tuple[int, int]):
    large = field.image
    height, width = 780, 1000
    x, y = max(0, -shift[0]), max(0, -shift[1])
    first = camera(large[y : y + height, x : x + width])
    second = camera(large[y + shift[1] : y + shift[1] + height, x + shift[0] : x + shift[0] + width])
    found = lies(first, second)
    assert found is not None
    assert (found.x, found.y) == pytest.approx(shift, abs=4)
    assert found.score > 0.85
    cells = find(first, HOME_DIAMETER).cells, find(second, HOME_DIAMETER).cells
    size = width, height
    pairs = dict(same_cells(*cells, found, size, size, HOME_DIAMETER))
    shared = [
        (mx - x, my - y)
        for mx, my in field.middles
        if WHOLE < mx - x < width - WHOLE
        and WHOLE < my - y < height - WHOLE
        and WHOLE < mx - x - shift[0] < width - WHOLE
        and WHOLE < my - y - shift[1] < height - WHOLE
    ]
    assert shared
    for mx, my in shared:
        (i,) = (i for i, cell in enumerate(cells[0]) if np.hypot(cell.middle[0] - mx, cell.middle[1] - my) < 50)
        assert cells[1][pairs[i]].middle == pytest.approx((mx - shift[0], my - shift[1]), abs=40)


def test_fields_of_different_sizes_are_put_together(field: Mosaic):
    first, second = camera(field.image[:1000, :1100]), camera(field.image[350:1250, 700:1400])
    for one, two, x, y in ((first, second, 700, 350), (second, first, -700, -350)):
        found = lies(one, two)
        assert found is not None
        assert (found.x, found.y) == pytest.approx((x, y), abs=4)


def test_a_part_of_a_pixel_of_a_plane_counts(field: Mosaic):
    """A plane's pixel is 6.3 pixels of the field; a shift is known to 2."""
    first = field.image[:780, :1000]
    for more in range(6):
        found = lies(first, field.image[:780, 500 + more : 1500 + more])
        assert found is not None
        assert (found.x, found.y) == pytest.approx((500 + more, 0), abs=2)


def test_another_exposure_out_of_focus_is_the_same_place(field: Mosaic):
    second = np.asarray(cv2.GaussianBlur(field.image[:780, 450:1450], (0, 0), 3), np.uint8)
    found = lies(field.image[:780, :1000], camera(second))
    assert found is not None
    assert (found.x, found.y) == pytest.approx((450, 0), abs=4)


def test_unrelated_fields_are_not(field: Mosaic):
    left, right = field.image[:, :850], field.image[:, 870:]
    assert lies(left, right) is None


def test_a_corner_too_small_to_tell_is_no_overlap(field: Mosaic):
    """Both show 60 by 60 pixels around the middle of a cell, less than a red cell."""
    for x, y in ((int(x), int(y)) for x, y in field.middles[5:7]):
        first, second = camera(field.image[: y + 30, : x + 30]), camera(field.image[y - 30 :, x - 30 :])
        assert lies(first, second) is None


def test_a_strip_alone_does_not_make_neighbours(field: Mosaic):
    first, second = field.image[:780, :1000], np.ascontiguousarray(field.image[300:1080, 700:1700])
    second[:, :130] = first[:, 500:630]
    assert lies(first, second) is None


def test_empty_fields_tell_nothing():
    glass = np.full((480, 640, 3), 220, np.uint8)
    assert lies(glass, glass) is None
    assert lies(camera(glass), camera(glass)) is None


def test_planes_of_two_scales_are_not_compared(field: Mosaic):
    with pytest.raises(ValueError, match="different scales"):
        shift_between(plane_of(field.image, HOME_DIAMETER), plane_of(field.image, 70))
