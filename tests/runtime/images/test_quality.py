import cv2
import numpy as np
import pytest

from cartcls.runtime.images.quality import FLAWS, measure
from cartcls.runtime.images.resize import Image


def values(images: Image, name: str) -> np.ndarray:
    return np.array([measure(image, image.shape[1], image.shape[0]).measures[name] for image in images])


def blurred(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 3), np.uint8)


def noisy(image: Image) -> Image:
    noise = np.random.default_rng(0).normal(0, 15, image.shape)
    return np.asarray((image + noise).round().clip(0, 255), np.uint8)


def compressed(image: Image) -> Image:
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 10])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def dark(image: Image) -> Image:
    return np.asarray(image * 0.6, np.uint8)


def test_every_flaw_is_measured(crops: Image):
    assert measure(crops[0], 360, 363).measures.keys() == FLAWS.keys()
    assert measure(crops[0], 360, 363).stain.shape == (9,)


@pytest.mark.parametrize(
    ("name", "change", "rises"),
    [
        ("sharpness", blurred, False),
        ("noise", noisy, True),
        ("blocks", compressed, True),
        ("brightness", dark, False),
    ],
)
def test_a_measure_parts_altered_cells_from_untouched_ones(crops: Image, name: str, change, rises: bool):
    before, after = values(crops, name), values(np.stack([change(image) for image in crops]), name)
    assert after.min() > before.max() if rises else after.max() < before.min()


@pytest.mark.parametrize(("name", "change"), [("sharpness", dark), ("noise", dark), ("brightness", blurred)])
def test_a_measure_says_nothing_of_other_flaws(crops: Image, name: str, change):
    before, after = values(crops, name), values(np.stack([change(image) for image in crops]), name)
    assert abs(np.median(after) - np.median(before)) < np.ptp(before) + 1e-9


def test_a_black_picture_and_one_of_red_cells_alone_show_no_cell(crops: Image):
    least = values(crops, "cell").min()
    assert values(np.zeros_like(crops[:1]), "cell") < 0.2 * least
    height, width = crops.shape[1:3]
    corners = np.stack([np.asarray(cv2.resize(image[: height // 3, : width // 3], (width, height))) for image in crops])
    assert np.median(values(corners, "cell")) < 0.6 * least


def test_a_nucleus_cut_in_half_lies_on_the_border_and_a_whole_one_does_not(crops: Image):
    assert (values(crops, "border") == 0).mean() > 0.9
    middle = crops.shape[2] // 2
    halves = np.stack([np.concatenate([image[:, middle:], image[:, :middle]], 1) for image in crops])
    halves[:, :, middle:] = np.median(crops, (1, 2))[:, None, None]
    assert (values(halves, "border") > 0.4).mean() > 0.7


def test_a_stain_is_the_same_at_any_size_and_another_after_a_shift(crops: Image):
    half = np.stack([np.asarray(cv2.resize(image, (180, 182), interpolation=cv2.INTER_AREA)) for image in crops])
    shifted = (255 * (np.maximum(crops, 1) / 255) ** [1.3, 1.0, 0.6]).astype(np.uint8)
    stains, small, other = (np.array([measure(i, 360, 363).stain for i in of]) for of in (crops, half, shifted))
    assert np.abs(small - stains)[:, 3:].max() < 0.01
    assert (other - stains)[:, 0].min() > 0.1
    assert (other - stains)[:, 8].max() < -0.05


def test_a_field_is_larger_than_a_cell_and_has_another_shape(crops: Image):
    height, width = crops.shape[1:3]
    assert measure(crops[0], 10 * width, 10 * height).measures["size"] == pytest.approx(np.log(10))
    assert measure(crops[0], 640, 480).measures["shape"] > 0.25
