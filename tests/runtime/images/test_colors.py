import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageCms
import pytest

from cartcls.runtime.errors import ImageError
from cartcls.runtime.images.colors import DAMAGED_PROFILE
from cartcls.runtime.images.decode import decode, read_image
from cartcls.runtime.images.reading import read_cell

Pixels = npt.NDArray[np.uint8]
GAMMA = b"para\0\0\0\0\0\0\0\0\0\1\0\0"  # a curve of the kind Y = X ** 1.0, in fixed point


@pytest.fixture
def srgb() -> bytes:
    return PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def linear(srgb: bytes) -> bytes:
    """Profile of sRGB's primaries in linear light."""
    at = srgb.index(b"para")
    return srgb[:at] + GAMMA + srgb[at + len(GAMMA) :]


def to_linear(pixels: Pixels) -> Pixels:
    shares = pixels / 255
    light = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return np.rint(255 * light).astype(np.uint8)


def saved(pixels: Pixels, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_a_profile_is_applied(pixels: Pixels, linear: bytes, format: str):
    options = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}[format]
    found = decode(saved(to_linear(pixels), format, icc_profile=linear, **options))
    assert found.doubt == ""
    assert np.abs(found.pixels.astype(int) - pixels).mean() < 2


def test_pixels_that_are_srgb_stay_as_they_are(pixels: Pixels, srgb: bytes, slide: Path):
    assert (decode(saved(pixels, "PNG", icc_profile=srgb)).pixels == pixels).all()
    jpeg = (slide / "cell-01.jpg").read_bytes()
    segment = b"\xff\xe2" + (16 + len(srgb)).to_bytes(2, "big") + b"ICC_PROFILE\0\1\1" + srgb
    assert (decode(jpeg[:2] + segment + jpeg[2:]).pixels == pixels).all()


def test_a_profile_of_a_bmp_is_applied(pixels: Pixels, linear: bytes):
    plain = saved(to_linear(pixels), "BMP")
    header = bytearray(124)
    header[:40] = (124).to_bytes(4, "little") + plain[18:54]
    header[56:60], header[112:120] = (
        b"DEBM",
        b"".join(number.to_bytes(4, "little") for number in (124 + len(plain) - 54, len(linear))),
    )
    start = (14 + 124).to_bytes(4, "little")
    found = decode(plain[:10] + start + bytes(header) + plain[54:] + linear)
    assert np.abs(found.pixels.astype(int) - pixels).mean() < 2


def test_a_profile_that_cannot_be_applied_is_told(pixels: Pixels, linear: bytes, tmp_path: Path):
    other = linear[:16] + b"CMYK" + linear[20:]
    for profile in (linear[:100], b"not a profile at all", other):
        found = decode(saved(pixels, "PNG", icc_profile=profile))
        assert (found.pixels == pixels).all()
        assert "colour profile" in found.doubt and "not applied" in found.doubt
    (tmp_path / "cell.png").write_bytes(saved(pixels, "PNG", icc_profile=linear[:100]))
    reading = read_cell(tmp_path / "cell.png", 120, 121)
    assert (reading.error, reading.doubt) == ("", DAMAGED_PROFILE)
    with pytest.raises(ImageError, match=f"cannot be trusted: {DAMAGED_PROFILE}"):
        read_image(tmp_path / "cell.png")


def test_alpha_that_is_the_same_everywhere_is_left_out(pixels: Pixels):
    for alpha in (0, 1, 128, 255):
        rgba = np.dstack([pixels, np.full(pixels.shape[:2], alpha, np.uint8)])
        assert (decode(saved(rgba, "PNG")).pixels == pixels).all()
        assert (decode(saved(rgba, "TIFF", compression="tiff_lzw")).pixels == pixels).all()
        grey = np.dstack([pixels[..., 0], np.full(pixels.shape[:2], alpha, np.uint8)])
        assert (decode(saved(grey, "PNG")).pixels == pixels[..., :1]).all()
    header = (
        (124).to_bytes(4, "little") + (360).to_bytes(4, "little") + (363).to_bytes(4, "little") + b"\1\0\x20\0\3\0\0\0"
    )
    masks = b"\0\0\xff\0\0\xff\0\0\xff\0\0\0\0\0\0\xff"
    blue_first = np.dstack([pixels[::-1, :, ::-1], np.zeros(pixels.shape[:2], np.uint8)]).tobytes()
    body = header + bytes(20) + masks + bytes(124 - 40 - len(masks)) + blue_first
    bmp = b"BM" + (14 + len(body)).to_bytes(4, "little") + bytes(4) + (14 + 124).to_bytes(4, "little") + body
    assert (decode(bmp).pixels == pixels).all()  # as in the report SixLabors/ImageSharp#581


def test_what_is_partly_transparent_is_laid_on_white(pixels: Pixels):
    rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    rgba[:100, :, 3] = 0
    found = decode(saved(rgba, "PNG")).pixels
    assert (found[:100] == 255).all() and (found[100:] == pixels[100:]).all()


def test_an_image_with_no_picture_behind_its_transparency_is_refused():
    with pytest.raises(ImageError, match="is wholly transparent"):
        decode(saved(np.zeros((50, 40, 4), np.uint8), "PNG"))
