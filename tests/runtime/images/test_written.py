import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from cartcls.runtime.errors import IncompleteError
from cartcls.runtime.images.decode import decode
from cartcls.runtime.images.written import check_webp

Pixels = npt.NDArray[np.uint8]


def saved(pixels: Pixels, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


RAW = [("BMP", {}), ("TIFF", {})]


@pytest.mark.parametrize(("format", "options"), [*RAW, ("WEBP", {}), ("WEBP", {"lossless": True})])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_no_file_that_was_not_written_to_its_end_is_taken(
    pixels: Pixels, format: str, options: dict[str, object], share: float
):
    data = saved(pixels, format, **options)
    with pytest.raises(IncompleteError):
        decode(data[: int(share * len(data))].ljust(len(data), b"\0"))
    with pytest.raises(IncompleteError):
        decode(data[: int(share * len(data))])


@pytest.mark.parametrize(("format", "options"), [*RAW, ("WEBP", {}), ("WEBP", {"lossless": True})])
def test_no_sector_of_zeros_is_taken(pixels: Pixels, format: str, options: dict[str, object]):
    data = saved(pixels, format, **options)
    for share in range(1, 10):
        at = len(data) * share // 10 // 512 * 512
        with pytest.raises(IncompleteError, match="a part of its data is zeros"):
            decode(data[:at] + bytes(512) + data[at + 512 :])


@pytest.mark.parametrize("format", ["BMP", "TIFF", "PNG"])
def test_masked_cells_and_black_frames_are_read(pixels: Pixels, format: str):
    masked, framed = pixels.copy(), np.zeros_like(pixels)
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    masked[(rows - 180) ** 2 + (columns - 180) ** 2 > 110**2] = 0
    framed[40:-120, 20:-20] = pixels[40:-120, 20:-20]
    for picture in (masked, framed):
        assert (decode(saved(picture, format)).pixels == picture).all()


def test_zeros_of_a_palette_are_a_colour(pixels: Pixels):
    indices = np.zeros(pixels.shape[:2], np.uint8)
    indices[:50] = pixels[:50, :, 0]
    image = PIL.Image.fromarray(indices)
    image.putpalette(bytes(range(255, -1, -1)) * 3)
    for format in ("BMP", "TIFF"):
        file = io.BytesIO()
        image.save(file, format)
        assert (decode(file.getvalue()).pixels == np.asarray(image.convert("RGB"))).all()


def run_lengths(end: bytes) -> bytes:
    """A BMP of 8 × 4 pixels in run lengths: four runs of 8."""
    runs = b"\x08\x05\0\0" * 4
    header = (40).to_bytes(4, "little") + (8).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"\1\0\x08\0\1\0\0\0"
    body = header + bytes(20) + bytes(range(256)) * 4 + runs + end
    return b"BM" + (14 + len(body)).to_bytes(4, "little") + bytes(4) + (14 + 40 + 1024).to_bytes(4, "little") + body


@pytest.mark.parametrize("end", [b"", b"\0\0", bytes(64)])
def test_a_bmp_in_run_lengths_needs_its_end_marker(end: bytes):
    for whole in (b"\0\1", b"\0\1\0\0"):
        assert decode(run_lengths(whole)).pixels.shape == (4, 8, 3)
    with pytest.raises(IncompleteError, match="end marker of its run lengths"):
        decode(run_lengths(end))


@pytest.mark.parametrize("make", [lambda data: data[:-1], lambda data: data[:40], lambda data: data[: len(data) // 2]])
def test_a_webp_that_is_cut_off_is_incomplete(pixels: Pixels, make: Callable[[bytes], bytes]):
    data = saved(pixels, "WEBP", lossless=True)
    assert (decode(data).pixels == pixels).all()
    with pytest.raises(IncompleteError, match="shorter than its header says"):
        decode(make(data))


@pytest.mark.parametrize("corner", [0, 200])
def test_a_cell_on_a_flat_canvas_is_read_from_webp(pixels: Pixels, corner: int):
    canvas = np.full((850, 850, 3), 255, np.uint8)
    canvas[corner : corner + len(pixels), corner : corner + pixels.shape[1]] = pixels
    data = saved(canvas, "WEBP", quality=100, method=1)
    assert bytes(65) in data
    assert decode(data).pixels.shape == canvas.shape


def test_zeros_that_fill_no_sector_are_no_damage_of_a_webp(pixels: Pixels):
    """libwebp writes up to about a hundred in a row, lossless with least effort."""
    data = saved(pixels, "WEBP", lossless=True)
    at = len(data) // 2
    check_webp(data[:at] + bytes(100) + data[at + 100 :])


def test_zeros_that_fill_sectors_between_other_pixels_are_found_wherever_they_are(pixels: Pixels):
    data = saved(pixels, "BMP")
    short = data[:4100] + bytes(600) + data[4700:]  # a dark object, no sector
    assert decode(short).pixels.shape == pixels.shape
    with pytest.raises(IncompleteError, match="a part of its data is zeros"):
        decode(short[:8192] + bytes(1024) + short[9216:])
