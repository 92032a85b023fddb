import io
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from tiffs import of_tifffile, tiled_jpeg, write_tiff

from cartcls.runtime.errors import ImageError, IncompleteError
from cartcls.runtime.images.decode import MAX_PIXELS, decode
from cartcls.runtime.images.levels import FULL_RANGE, Levels
from cartcls.runtime.images.tiff_draw import Box, read_region
from cartcls.runtime.images.tiff_pages import full_size

Pixels = npt.NDArray[np.uint8]
Deep = npt.NDArray[np.uint16]


@pytest.fixture
def deep(pixels: Pixels) -> Deep:
    """16 bits, of which all matter."""
    noise = np.random.default_rng(0).integers(0, 257, pixels.shape)
    return (pixels.astype(np.uint32) * 256 + noise).astype(np.uint16)


def planes(deep: Deep, **options: Any) -> bytes:
    return of_tifffile(np.ascontiguousarray(deep.transpose(2, 0, 1)), planarconfig="separate", **options)


def of_opencv(deep: Deep, compression: int) -> bytes:
    return cv2.imencode(".tif", deep[:, :, ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, compression])[1].tobytes()


FORMS: dict[str, Callable[[Deep], bytes]] = {
    "one strip": of_tifffile,
    "strips": lambda deep: of_tifffile(deep, rowsperstrip=50),
    "MM": lambda deep: of_tifffile(deep, byteorder=">", rowsperstrip=50),
    "BigTIFF": lambda deep: of_tifffile(deep, bigtiff=True),
    "BigTIFF, MM": lambda deep: of_tifffile(deep, bigtiff=True, byteorder=">"),
    "tiles": lambda deep: of_tifffile(deep, tile=(128, 64)),
    "deflate": lambda deep: of_tifffile(deep, compression="zlib", rowsperstrip=50),
    "deflate, differences": lambda deep: of_tifffile(deep, compression="zlib", predictor=True, tile=(64, 64)),
    "deflate, differences, MM": lambda deep: of_tifffile(deep, compression="zlib", predictor=True, byteorder=">"),
    "planes": planes,
    "planes, tiles": lambda deep: planes(deep, tile=(64, 128)),
    "LZW, differences": lambda deep: of_opencv(deep, 5),
    "PackBits": lambda deep: of_opencv(deep, 32773),
    "OME-TIFF": lambda deep: of_tifffile(deep, ome=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_sixteen_bits_gives_the_same_picture_and_parts_of_it(deep: Deep, form: str):
    data = FORMS[form](deep)
    expected = FULL_RANGE.to_eight_bits(deep)
    assert (decode(data).pixels == expected).all()
    file = io.BytesIO(data)
    for box in (Box(100, 50, 130, 200), Box(0, 0, 360, 363), Box(359, 362, 1, 1), Box(64, 128, 64, 64)):
        part = expected[box.top : box.top + box.height, box.left : box.left + box.width]
        assert (read_region(file, full_size(file), box) == part).all()


@pytest.mark.parametrize("form", FORMS)
def test_what_is_cut_off_is_incomplete(deep: Deep, form: str):
    data = FORMS[form](deep)
    for share in range(1, 12):
        with pytest.raises(IncompleteError):
            decode(data[: len(data) * share // 12])


def test_eight_bits_of_a_bigtiff_of_the_order_mm_are_read(pixels: Pixels):
    for tile, compression in ((None, None), ((64, 64), None), (None, "zlib")):
        differences = {"compression": compression, "predictor": compression is not None}
        data = of_tifffile(pixels, bigtiff=True, byteorder=">", tile=tile, **differences)
        assert (decode(data).pixels == pixels).all()
    grey = pixels[:, :, 0]
    inverse = of_tifffile(255 - grey, bigtiff=True, byteorder=">", photometric="miniswhite")
    assert (decode(inverse).pixels == grey[:, :, None]).all()
    with pytest.raises(ImageError, match="a form of TIFF that is seldom used"):
        decode(of_tifffile(grey > 128, bigtiff=True, byteorder=">", photometric="minisblack"))


def test_a_part_of_jpeg_tiles_has_their_colours(pixels: Pixels):
    file = io.BytesIO(tiled_jpeg(pixels))
    part = read_region(file, full_size(file), Box(100, 100, 200, 200))
    assert np.abs(part.astype(int) - pixels[100:300, 100:300]).mean() < 1
    lies = io.BytesIO(tiled_jpeg(pixels, t262=2))
    with pytest.raises(ImageError, match="stored as YCbCr"):
        read_region(lies, full_size(lies), Box(0, 0, 10, 10))
    large = io.BytesIO(tiled_jpeg(pixels, bigger=8))
    with pytest.raises(IncompleteError, match="holds a JPEG of 128x136"):
        read_region(large, full_size(large), Box(0, 0, 10, 10))


class Counted(io.BytesIO):
    """A file that counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.count += len(found)
        return found


def slide_of_400_megapixels(tile: Pixels) -> bytes:
    """20,480 x 20,480 pixels, in tiles that are all the same."""
    packed = zlib.compress(tile.tobytes(), 1)
    size = 20 * 1024
    starts, sizes = [8] * 400, [len(packed)] * 400
    return write_tiff([packed], size, size, t259=8, t322=1024, t323=1024, t324=starts, t325=sizes)


def test_a_part_of_400_megapixels_is_read_by_its_tiles_alone(pixels: Pixels):
    tile = np.full((1024, 1024, 3), 230, np.uint8)
    tile[300:663, 300:660] = pixels
    data = slide_of_400_megapixels(tile)
    with pytest.raises(
        ImageError, match=r"20480x20480 pixels: more than 50 megapixels: export the part with the cells"
    ):
        decode(data)
    file = Counted(data)
    page = full_size(file)
    assert page.pixels > 8 * MAX_PIXELS
    before, one = file.count, page.all(325)[0]
    part = read_region(file, page, Box(19 * 1024 + 300, 7 * 1024 + 300, 360, 363))
    assert (part == pixels).all()
    assert file.count - before == one
    assert (read_region(file, page, Box(1300, 2300, 1100, 100)) == np.hstack([tile, tile])[252:352, 276:1376]).all()
    assert file.count - before == 3 * one


def test_tiles_that_are_too_many_are_refused():
    count = 51_000
    data = write_tiff(
        [b"x" * 512], 16 * count, 16, t258=16, t262=1, t277=1, t322=16, t323=16, t324=[8] * count, t325=[512] * count
    )
    file = io.BytesIO(data)
    with pytest.raises(ImageError, match="tiles of 16x16 pixels, which take too long"):
        read_region(file, full_size(file), Box(0, 0, 16 * count, 16))
    assert read_region(file, full_size(file), Box(1600, 0, 160, 16)).shape == (16, 160, 3)


def test_damage_of_a_part_is_told(deep: Deep):
    """Also where the number of bytes or their place is more than any file has."""
    lzw = of_opencv(deep, 5)
    middle = len(lzw) // 2
    file = io.BytesIO(lzw[:middle] + b"\xff" * 4096 + lzw[middle + 4096 :])
    with pytest.raises(IncompleteError, match="damaged"):
        read_region(file, full_size(file), Box(0, 0, 360, 363))
    whole = of_tifffile(deep, bigtiff=True)
    (size,) = full_size(io.BytesIO(whole)).all(279)
    file = io.BytesIO(whole.replace(size.to_bytes(8, "little"), b"\xff" * 8))
    with pytest.raises(IncompleteError, match="shorter than it says"):
        read_region(file, full_size(file), Box(0, 0, 360, 363))


@pytest.mark.parametrize("box", [Box(-1, 0, 5, 5), Box(0, 0, 0, 5), Box(355, 0, 6, 5), Box(0, 360, 5, 4)])
def test_a_part_must_lie_in_the_picture(pixels: Pixels, box: Box):
    file = io.BytesIO(of_tifffile(pixels))
    with pytest.raises(ValueError, match="does not lie in"):
        read_region(file, full_size(file), box)


def test_strips_that_need_too_much_memory_are_refused_before_they_are_inflated():
    packed = zlib.compress(bytes(1000))
    data = write_tiff([packed], 6000, 6000, t258=(16, 16, 16), t259=8)
    with pytest.raises(IncompleteError, match="shorter than its pixels"):
        decode(write_tiff([packed], 600, 600, t258=(16, 16, 16), t259=8))
    with pytest.raises(ImageError, match="strips or tiles of 6000x6000 pixels, which need too much memory"):
        decode(data)


def test_an_inverse_grey_picture_of_sixteen_bits_is_turned_round(deep: Deep):
    grey = deep[:, :, 0]
    expected = 255 - Levels(0, 60_000).to_eight_bits(grey)
    decoded = decode(of_tifffile(grey, photometric="miniswhite"), levels=Levels(0, 60_000))
    assert (decoded.pixels == expected[:, :, None]).all()
