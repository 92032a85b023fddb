import io
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageCms
import pytest
from tiffs import of_tifffile, tiled_jpeg, write_tiff

from cartcls.runtime.errors import ImageError, IncompleteError
from cartcls.runtime.images import tiff_large
from cartcls.runtime.images.decode import decode
from cartcls.runtime.images.levels import FULL_RANGE, Levels
from cartcls.runtime.images.picture import open_picture
from cartcls.runtime.images.tiff_large import LargeTiff, large_page

Pixels = npt.NDArray[np.uint8]
SMALL = 1000  # pixels: all pictures of these tests are larger
BOXES = ((100, 50, 130, 200), (0, 0, 360, 363), (359, 362, 1, 1), (64, 128, 64, 64), (0, 140, 360, 20))
TILE = 64, 64


def deep(pixels: Pixels, white: int = 65535) -> npt.NDArray[np.uint16]:
    return (pixels.astype(np.uint32) * white // 255).astype(np.uint16)


def with_profile(pixels: Pixels) -> bytes:
    """Tiles with a profile whose red and green are swapped, so that it matters."""
    profile = bytearray(PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ", 128), profile.index(b"gXYZ", 128)
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return of_tifffile(pixels, tile=TILE, iccprofile=bytes(profile))


FORMS: dict[str, Callable[[Pixels], bytes]] = {
    "tiles": lambda pixels: of_tifffile(pixels, tile=TILE),
    "strips": lambda pixels: of_tifffile(pixels, rowsperstrip=7),
    "strips, deflate": lambda pixels: of_tifffile(pixels, rowsperstrip=7, compression="zlib"),
    "BigTIFF, MM": lambda pixels: of_tifffile(pixels, tile=TILE, bigtiff=True, byteorder=">"),
    "deflate, differences": lambda pixels: of_tifffile(pixels, tile=TILE, compression="zlib", predictor=True),
    "LZMA": lambda pixels: of_tifffile(pixels, tile=TILE, compression="lzma"),
    "JPEG": tiled_jpeg,
    "grey": lambda pixels: of_tifffile(pixels[:, :, 1], tile=TILE),
    "grey, inverse": lambda pixels: of_tifffile(pixels[:, :, 1], tile=TILE, photometric="miniswhite"),
    "OME-TIFF": lambda pixels: of_tifffile(pixels, tile=TILE, ome=True),
    "with a smaller copy": lambda pixels: of_tifffile(pixels, np.ascontiguousarray(pixels[::2, ::2]), tile=TILE),
    "16 bits": lambda pixels: of_tifffile(deep(pixels), tile=TILE),
    "planes": lambda pixels: of_tifffile(
        np.ascontiguousarray(pixels.transpose(2, 0, 1)), planarconfig="separate", tile=TILE
    ),
    "profile": with_profile,
}


def written(folder: Path, data: bytes) -> Path:
    path = folder / "large.tif"
    path.write_bytes(data)
    return path


def read_all(path: Path, levels: Levels = FULL_RANGE) -> None:
    with open_picture(path, levels, SMALL) as picture:
        picture.region(0, 0, picture.width, picture.height)


@pytest.mark.parametrize("form", FORMS)
def test_parts_of_a_large_picture_are_those_of_a_small_one(tmp_path: Path, pixels: Pixels, form: str):
    data = FORMS[form](pixels)
    expected = decode(data)
    with open_picture(written(tmp_path, data), whole=SMALL) as picture:
        assert isinstance(picture, LargeTiff)
        assert (picture.height, picture.width) == expected.pixels.shape[:2]
        assert (picture.doubt, picture.deep) == (expected.doubt, expected.deep)
        for x, y, width, height in BOXES:
            assert (picture.region(x, y, width, height) == expected.pixels[y : y + height, x : x + width]).all()


def test_the_profile_of_the_test_matters(pixels: Pixels):
    assert np.abs(decode(with_profile(pixels)).pixels.astype(int) - pixels).max() > 20


@pytest.mark.parametrize("form", sorted(FORMS.keys() - {"with a smaller copy"}))  # which may lack its copy
def test_what_is_cut_off_is_incomplete(tmp_path: Path, pixels: Pixels, form: str):
    data = FORMS[form](pixels)
    for share in range(12):
        with pytest.raises(IncompleteError):
            read_all(written(tmp_path, data[: len(data) * share // 12]))


def test_damaged_tiles_are_told_where_they_are_read(tmp_path: Path, pixels: Pixels):
    for form in ("deflate, differences", "LZMA", "JPEG"):
        data = FORMS[form](pixels)
        page = large_page(io.BytesIO(data), SMALL)
        assert page is not None
        start, size = page.all(324)[-1], page.all(325)[-1]
        path = written(tmp_path, data[: start + size // 2] + bytes(100) + data[start + size // 2 + 100 :])
        with open_picture(path, whole=SMALL) as picture:
            assert picture.region(0, 0, 64, 64).any()
            with pytest.raises(IncompleteError, match="damaged"):
                picture.region(300, 300, 60, 63)


def test_tiles_and_strips_of_zeros_were_never_written(tmp_path: Path, pixels: Pixels):
    for form, tag in (("tiles", 324), ("strips", 273)):
        data = FORMS[form](pixels)
        page = large_page(io.BytesIO(data), SMALL)
        assert page is not None
        start, size = page.all(tag)[20], page.all(tag + (1 if tag == 324 else 6))[20]
        with pytest.raises(IncompleteError, match="all zeros"):
            read_all(written(tmp_path, data[:start] + bytes(size) + data[start + size :]))
    framed = pixels.copy()
    framed[:64], framed[-64:] = 0, 0
    read_all(written(tmp_path, of_tifffile(framed, tile=TILE)))


def test_zeros_in_lzw_are_damage(tmp_path: Path, pixels: Pixels):
    """They are valid codes, so that no decoder tells."""
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "TIFF", compression="tiff_lzw")
    data = file.getvalue()
    read_all(written(tmp_path, data))
    with pytest.raises(IncompleteError, match="a part of its data is zeros"):
        read_all(written(tmp_path, data[:30_000] + bytes(2000) + data[32_000:]))


def test_headers_that_lie_are_refused(tmp_path: Path, pixels: Pixels):
    tile = zlib.compress(np.ascontiguousarray(pixels[:64, :64]).tobytes())
    lies = {"t259": 8, "t322": 64, "t323": 64, "t324": [8] * 36, "t325": [len(tile)] * 36}
    for tags, reason in (
        ({}, "overlap"),
        ({"t324": [8], "t325": [len(tile)]}, "fewer strips or tiles"),
        ({"t324": [8, 0], "t325": [len(tile), 0]}, "never written"),
        ({"t324": [1 << 30] * 36}, "shorter than it says"),
        ({"t322": 0}, "nothing of its size"),
        ({"t322": 8, "t324": [8], "t325": [len(tile)]}, "holds more than its pixels|fewer strips"),
        ({"t259": 50001}, "WebP"),
        ({"t262": 5}, "CMYK"),
        ({"t274": 6}, "turned by a tag"),
    ):
        with pytest.raises(ImageError, match=reason):
            read_all(written(tmp_path, write_tiff([tile], 360, 363, **(lies | tags))))


def test_alpha_channels_are_refused_and_unknown_channels_left_out(tmp_path: Path, pixels: Pixels):
    four = np.dstack([pixels, np.full(pixels.shape[:2], 7, np.uint8)])
    with pytest.raises(ImageError, match="alpha channel"):
        read_all(written(tmp_path, of_tifffile(four, tile=TILE, extrasamples=["unassalpha"])))
    with open_picture(written(tmp_path, of_tifffile(four, tile=TILE, extrasamples=[0])), whole=SMALL) as picture:
        assert (picture.region(0, 0, 360, 363) == pixels).all()


def test_values_of_sixteen_bits_are_declared(tmp_path: Path, pixels: Pixels):
    path = written(tmp_path, of_tifffile(deep(pixels, 4095), tile=TILE))
    with pytest.raises(ImageError, match="--white 4095"):
        read_all(path)
    with open_picture(path, Levels(0, 4095), SMALL) as picture:
        assert np.abs(picture.region(0, 0, 360, 363).astype(int) - pixels).max() <= 1


def test_a_file_that_changes_while_it_is_open_is_incomplete(tmp_path: Path, pixels: Pixels):
    path = written(tmp_path, FORMS["tiles"](pixels))
    with open_picture(path, whole=SMALL) as picture:
        picture.region(0, 0, 9, 9)
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(IncompleteError, match="was still being written"):
            picture.region(0, 0, 9, 9)


def test_there_is_a_limit(tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch):
    path = written(tmp_path, FORMS["tiles"](pixels))
    monkeypatch.setattr(tiff_large, "MAX_LARGE_PIXELS", 130_000)
    with pytest.raises(ImageError, match="has 360x363 pixels: more than 0 megapixels: export the part with the cells"):
        read_all(path)


def test_400_megapixels_of_one_small_file_are_refused_at_once(tmp_path: Path):
    """Whose one tile is said to be all tiles."""
    tile = zlib.compress(bytes(3 << 20))
    tags = {"t259": 8, "t322": 1024, "t323": 1024, "t324": [8] * 361, "t325": [len(tile)] * 361}
    with pytest.raises(IncompleteError, match="overlap"):
        read_all(written(tmp_path, write_tiff([tile], 19 * 1024, 19 * 1024, **tags)))


def test_parts_of_strips_are_read_in_any_order_and_with_little_memory(
    tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
):
    path = written(tmp_path, FORMS["strips"](pixels))
    monkeypatch.setattr(tiff_large, "ROWS_AT_A_TIME", 30)
    for most, after in ((1 << 28, 1024), (1 << 28, 60), (1 << 28, 0), (0, 0)):
        monkeypatch.setattr(tiff_large, "BAND_BYTES", most)
        monkeypatch.setattr(tiff_large, "ROWS_AFTER", after)
        monkeypatch.setattr(tiff_large, "ROWS_BEFORE", after // 4)
        with open_picture(path, whole=SMALL) as picture:
            for y, height in ((0, 100), (20, 50), (90, 100), (300, 20), (200, 50), (0, 363), (362, 1)):
                assert (picture.region(11, y, 200, height) == pixels[y : y + height, 11:211]).all()


def test_only_pictures_of_small_pieces_are_read_by_them(pixels: Pixels, monkeypatch: pytest.MonkeyPatch):
    assert large_page(io.BytesIO(FORMS["strips"](pixels)), SMALL)
    assert large_page(io.BytesIO(FORMS["strips"](pixels))) is None  # decoded whole
    monkeypatch.setattr(tiff_large, "PIECE_PIXELS", 100_000)
    assert large_page(io.BytesIO(of_tifffile(pixels)), SMALL) is None
    assert large_page(io.BytesIO(cv2.imencode(".png", pixels)[1].tobytes()), SMALL) is None
