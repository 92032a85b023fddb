from pathlib import Path

import numpy as np
import pytest

from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import PREPROCESSING, Image, parse_size, stretch


def test_the_input_size_itself_is_left_alone(crops: Image):
    height, width = crops.shape[1:3]
    assert (stretch(crops[0], width, height) == crops[0]).all()


@pytest.mark.parametrize(("name", "side"), [("stretched-down.png", slice(None)), ("stretched-up.png", slice(170, 194))])
def test_the_pixels_are_those_of_the_name(slide: Path, name: str, side: slice):
    """OpenCV's builds may differ by a grey level or two, other ways to resize differ by ten."""
    assert PREPROCESSING == "stretch-area-linear-1"  # whoever changes the pixels below gives them another name
    expected, _ = read_image(Path(__file__).parent / name)
    found = stretch(read_image(slide / "cell-01.jpg")[0][side, side], expected.shape[1], expected.shape[0])
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_shrinking_averages():
    checkers = np.indices((64, 64)).sum(0)[:, :, None].repeat(3, 2) % 2 * 255
    assert np.abs(stretch(checkers.astype(np.uint8), 32, 32).astype(int) - 128).max() <= 1


@pytest.mark.parametrize(("text", "size"), [("360x363", (360, 363)), ("128", (128, 128)), ("64X32", (64, 32))])
def test_sizes_are_width_by_height(text: str, size: tuple[int, int]):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "360x", "a", "31", "-5", "360x363x3", "1.5"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(ValueError, match=r"is not a size|is too small"):
        parse_size(text)
