import cv2
import numpy as np
import pytest

from cartcls.runtime.images.resize import Image, parse_size, stretch


def test_the_input_size_itself_is_left_alone(crops: Image):
    height, width = crops.shape[1:3]
    assert (stretch(crops[0], width, height) == crops[0]).all()


def test_shrinking_averages_and_growing_interpolates(crops: Image):
    cell = crops[0]
    assert (stretch(cell, 90, 121) == cv2.resize(cell, (90, 121), interpolation=cv2.INTER_AREA)).all()
    assert (stretch(cell, 720, 800) == cv2.resize(cell, (720, 800), interpolation=cv2.INTER_LINEAR)).all()
    checkers = np.indices((64, 64)).sum(0)[:, :, None].repeat(3, 2) % 2 * 255
    assert np.abs(stretch(checkers.astype(np.uint8), 32, 32).astype(int) - 128).max() <= 1


@pytest.mark.parametrize(("text", "size"), [("360x363", (360, 363)), ("128", (128, 128)), ("64X32", (64, 32))])
def test_sizes_are_width_by_height(text: str, size: tuple[int, int]):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "360x", "a", "31", "-5", "360x363x3", "1.5"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(ValueError, match=r"is not a size|is too small"):
        parse_size(text)
