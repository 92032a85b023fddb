import numpy as np
import pytest
from mosaic import HOME_DIAMETER, Mosaic

from cartcls.runtime.fields.find import find
from cartcls.runtime.fields.overlap import same_cells, shift_between
from cartcls.runtime.images.resize import Image

RANDOM = np.random.default_rng(0)


def camera(image: Image) -> Image:
    """The same with the noise of another exposure, a little darker."""
    return np.clip(0.96 * image + RANDOM.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


WHOLE = 90  # pixels from a cell's middle to the border: no cell is cut there
SECOND = {"right": (480, 30), "left": (-500, -40), "below": (25, 420), "above": (-60, -450), "the same": (0, 0)}


@pytest.mark.parametrize("shift", SECOND.values(), ids=list(SECOND))
def test_neighbours_of_one_picture_are_put_together(field: Mosaic, shift: tuple[int, int]):
    large = field.image
    height, width = 780, 1000
    x, y = max(0, -shift[0]), max(0, -shift[1])
    first = camera(large[y : y + height, x : x + width])
    second = camera(large[y + shift[1] : y + shift[1] + height, x + shift[0] : x + shift[0] + width])
    found = shift_between(first, second, HOME_DIAMETER)
    assert found is not None
    assert (found.x, found.y) == pytest.approx(shift, abs=4)
    assert found.score > 0.9
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


def test_unrelated_fields_are_not(field: Mosaic):
    left, right = field.image[:, :850], field.image[:, 870:]
    assert shift_between(left, right, HOME_DIAMETER) is None


def test_a_strip_alone_does_not_make_neighbours(field: Mosaic):
    first, second = field.image[:780, :1000], np.ascontiguousarray(field.image[300:1080, 700:1700])
    second[:, :130] = first[:, 500:630]
    assert shift_between(first, second, HOME_DIAMETER) is None


def test_empty_fields_tell_nothing():
    glass = np.full((480, 640, 3), 220, np.uint8)
    assert shift_between(glass, glass, HOME_DIAMETER) is None
