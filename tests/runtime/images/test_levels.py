from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageCms
import pytest
from odd_images import as_pillow_does
from tiffs import of_tifffile

from cartcls.runtime.errors import ImageError, UsageError
from cartcls.runtime.images.decode import decode
from cartcls.runtime.images.levels import FULL_RANGE, Levels

Pixels = npt.NDArray[np.uint8]
Deep = npt.NDArray[np.uint16]


def png(deep: Deep) -> bytes:
    channels = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[deep.shape[2] if deep.ndim == 3 else 1]
    return cv2.imencode(".png", deep[:, :, channels] if deep.ndim == 3 else deep)[1].tobytes()


def as_twelve_bits(pixels: Pixels) -> Deep:
    return np.rint(pixels * (4095 / 255)).astype(np.uint16)


@pytest.mark.parametrize("write", [png, of_tifffile])
def test_the_full_range_of_sixteen_bits_gives_the_pixels_of_eight(pixels: Pixels, write: Callable[[Deep], bytes]):
    deep = pixels.astype(np.uint16) * 257
    assert (decode(write(deep)).pixels == pixels).all()
    assert (decode(write(deep[:, :, 0])).pixels == pixels[:, :, :1]).all()


@pytest.mark.parametrize("write", [png, of_tifffile])
def test_declared_levels_give_the_pixels_of_eight_bits(pixels: Pixels, write: Callable[[Deep], bytes]):
    data = write(as_twelve_bits(pixels))
    assert (decode(data, levels=Levels(0, 4095)).pixels == pixels).all()
    raised = write(as_twelve_bits(pixels) + 200)
    assert (decode(raised, levels=Levels(200, 4295)).pixels == pixels).all()


@pytest.mark.parametrize("write", [png, of_tifffile])
def test_files_of_more_than_eight_bits_are_told_apart(pixels: Pixels, write: Callable[[Deep], bytes]):
    assert decode(write(pixels.astype(np.uint16) * 257)).deep
    assert not decode(cv2.imencode(".png", pixels)[1].tobytes()).deep
    for eight_bits in ({}, {"byteorder": ">", "bigtiff": True}):
        assert not decode(of_tifffile(pixels, **eight_bits)).deep


def test_the_low_byte_of_a_png_counts(pixels: Pixels):
    """Pillow drops it, and then 12 bits are nearly black."""
    data = png(as_twelve_bits(pixels))
    assert as_pillow_does(data).max() < 16
    assert (decode(data, levels=Levels(0, 4095)).pixels == pixels).all()


def test_no_picture_is_stretched_by_itself(pixels: Pixels):
    dim = pixels // 2
    assert (decode(png(dim.astype(np.uint16) * 257)).pixels == dim).all()


def test_values_beyond_the_levels_are_black_and_white():
    values = np.array([0, 100, 101, 2000, 4095, 4096, 65535], np.uint16)
    assert Levels(100, 4095).to_eight_bits(values).tolist() == [0, 0, 0, 121, 255, 255, 255]
    assert FULL_RANGE.to_eight_bits(np.array([0, 128, 129, 65535], np.uint16)).tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("write", [png, of_tifffile])
@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (14, 16383)])
def test_values_of_a_camera_of_fewer_bits_are_told(
    pixels: Pixels, write: Callable[[Deep], bytes], bits: int, white: int
):
    data = write(np.rint(pixels * (white / 255)).astype(np.uint16))
    with pytest.raises(ImageError, match=f"camera with {bits} bits: export it with 8 bits, or, .* --white {white}"):
        decode(data)
    assert (decode(data, levels=Levels(0, white)).pixels == pixels).all()


def test_transparent_parts_are_white_and_alpha_has_its_own_range(pixels: Pixels):
    alpha = np.full(pixels.shape[:2], 65535, np.uint16)
    alpha[:100], alpha[100:200] = 0, 257 * 102
    deep = np.dstack([as_twelve_bits(pixels), alpha])
    expected = pixels.copy()
    expected[:100], expected[100:200] = 255, np.rint(0.4 * pixels[100:200] + 0.6 * 255)
    for data in (png(deep), of_tifffile(deep, extrasamples=["unassalpha"])):
        assert np.abs(decode(data, levels=Levels(0, 4095)).pixels.astype(int) - expected).max() <= 1


def test_a_fourth_channel_of_no_known_use_is_left_out(pixels: Pixels):
    deep = np.dstack([pixels, pixels[:, :, 0]]).astype(np.uint16) * 257
    assert (decode(of_tifffile(deep, extrasamples=["unspecified"])).pixels == pixels).all()


def test_rotation_and_profile_of_sixteen_bits_are_applied(pixels: Pixels, tmp_path: Path):
    deep = pixels.astype(np.uint16) * 257
    turned = of_tifffile(deep, extratags=[(274, 3, 1, 6, True)])
    assert (decode(turned).pixels == np.rot90(pixels, -1)).all()
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("XYZ")).tobytes()
    assert "colour profile of another kind" in decode(of_tifffile(deep, iccprofile=profile)).doubt
    image = PIL.Image.fromarray(deep[:, :, 0])
    exif = PIL.Image.Exif()
    exif[0x0112] = 3
    image.save(tmp_path / "turned.png", exif=exif)
    assert (decode((tmp_path / "turned.png").read_bytes()).pixels == np.rot90(pixels[:, :, :1], 2)).all()


@pytest.mark.parametrize(("black", "white"), [(-1, 100), (100, 100), (200, 100), (0, 65536)])
def test_levels_must_be_in_order(black: int, white: int):
    with pytest.raises(UsageError, match="black is below white"):
        Levels(black, white)
