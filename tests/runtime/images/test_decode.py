import io
import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from cartcls.runtime.errors import ImageError
from cartcls.runtime.images.decode import decode, read_file


@pytest.fixture
def jpeg(slide: Path) -> bytes:
    return (slide / "cell-01.jpg").read_bytes()


def encoded(pixels: np.ndarray, format: str, **options: object) -> bytes:
    return saved(PIL.Image.fromarray(pixels), format, **options)


def saved(image: PIL.Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_same_pixels(pixels: np.ndarray, format: str):
    assert (decode(encoded(pixels, format)).pixels == pixels).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_rotation_is_applied(pixels: np.ndarray, orientation: int):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels.swapaxes(0, 1)[:, ::-1],
        7: pixels.swapaxes(0, 1)[::-1, ::-1],
        8: pixels.swapaxes(0, 1)[::-1],
    }
    assert (decode(encoded(pixels, "PNG", exif=exif)).pixels == upright[orientation]).all()
    turned = decode(encoded(pixels, "JPEG", exif=exif, quality=100, subsampling=0)).pixels.astype(int)
    assert np.abs(turned - upright[orientation]).mean() < 1


def test_no_truncated_jpeg_is_accepted(jpeg: bytes):
    for cut in range(0, len(jpeg) - 2, 97):
        with pytest.raises(ImageError):
            decode(jpeg[:cut])


def test_no_file_preallocated_with_zeros_is_accepted(jpeg: bytes):
    for cut in range(len(jpeg) // 4, len(jpeg) - 2, 97):
        with pytest.raises(ImageError):
            decode(jpeg[:cut].ljust(len(jpeg), b"\0"))


def test_bytes_behind_the_end_do_no_harm(jpeg: bytes, pixels: np.ndarray):
    assert (decode(jpeg + b"\0" * 100 + b"made by \xff\xda a microscope").pixels == pixels).all()


def test_a_thumbnail_inside_a_jpeg_does_not_end_it(jpeg: bytes, pixels: np.ndarray):
    small = jpeg[:60000]
    with_thumbnail = jpeg[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + jpeg[2:]
    assert (decode(with_thumbnail).pixels == pixels).all()
    with pytest.raises(ImageError, match="incomplete: the JPEG end marker"):
        decode(with_thumbnail[:-2])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: encoded(p, "PNG")[:-9], "incomplete: the PNG end marker"),
        (lambda p: encoded(p, "TIFF")[:-5000], "damaged or cut off"),
        (lambda p: encoded(p, "BMP")[:-5000], "damaged or cut off"),
        (lambda p: encoded(p.mean(2).astype(np.float32), "TIFF"), "floating-point numbers"),
        (lambda p: saved(PIL.Image.fromarray(p).convert("CMYK"), "JPEG"), "CMYK colours"),
        (lambda p: encoded(p, "GIF"), "format GIF, which is not read"),
        (lambda p: encoded(p, "TIFF", save_all=True, append_images=[PIL.Image.fromarray(p)]), "holds 2 pictures"),
        (lambda p: encoded(p, "PNG", save_all=True, append_images=[PIL.Image.fromarray(255 - p)]), "holds 2 pictures"),
        (lambda p: saved(PIL.Image.new("1", (10_000, 10_000)), "PNG"), "megapixels"),
        (lambda p: saved(PIL.Image.new("1", (7_200, 7_000)), "PNG"), "megapixels"),
        (lambda p: b"not an image at all", "is not a JPEG, PNG, BMP, TIFF or WebP"),
    ],
)
def test_bad_images_are_refused_with_the_reason(pixels: np.ndarray, make: Callable[[np.ndarray], bytes], reason: str):
    with pytest.raises(ImageError, match=reason):
        decode(make(pixels))


def test_palette_and_grey_images_become_rgb(pixels: np.ndarray):
    palette = PIL.Image.fromarray(pixels).quantize(32)
    assert (decode(saved(palette, "PNG")).pixels == np.asarray(palette.convert("RGB"))).all()
    grey = PIL.Image.fromarray(pixels).convert("L")
    assert (decode(saved(grey, "PNG")).pixels == np.asarray(grey)[:, :, None]).all()


@pytest.mark.parametrize("suffix", [".czi", ".ND2", ".lif"])
def test_vendor_formats_are_refused_by_name(suffix: str):
    with pytest.raises(ImageError, match="export the cells as TIFF"):
        decode(b"whatever", suffix)


def test_only_regular_files_are_read(tmp_path: Path, slide: Path):
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "link.jpg").symlink_to(slide / "cell-01.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "empty.jpg").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
    reasons = {
        "fifo.jpg": "not a regular file",
        "folder.jpg": "not a regular file",
        "socket.jpg": "not a regular file",
        "link.jpg": "symbolic link",
        "loop.jpg": "symbolic link",
        "empty.jpg": "empty",
        "gone.jpg": "vanished",
    }
    for name, reason in reasons.items():
        with pytest.raises(ImageError, match=reason):
            read_file(tmp_path / name)
