import contextlib
import io
import re
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from odd_images import as_pillow_does
from tiffs import Value, write_tiff

from cartcls.runtime.errors import ImageError, IncompleteError
from cartcls.runtime.images.decode import decode
from cartcls.runtime.images.tiff_tags import MANY

Pixels = npt.NDArray[np.uint8]


def tiff(pixels: Pixels, rows: int = 64, **tags: Value) -> bytes:
    strips = [pixels[top : top + rows].tobytes() for top in range(0, len(pixels), rows)]
    return write_tiff(strips, pixels.shape[1], len(pixels), t278=rows, **tags)


def saved(pixels: Pixels, format: str = "TIFF", **options: object) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def tiles(pixels: Pixels, side: int = 128) -> list[bytes]:
    high, wide = -(-pixels.shape[0] // side) * side, -(-pixels.shape[1] // side) * side
    full = np.zeros((high, wide, 3), np.uint8)
    full[: pixels.shape[0], : pixels.shape[1]] = pixels
    corners = [(top, left) for top in range(0, high, side) for left in range(0, wide, side)]
    return [full[top : top + side, left : left + side].tobytes() for top, left in corners]


def tiled(pixels: Pixels, made: list[bytes], **tags: Value) -> bytes:
    starts = np.cumsum([8, *map(len, made)]).tolist()[:-1]
    values: dict[str, Value] = {"t324": starts, "t325": [len(tile) for tile in made], "t322": 128, "t323": 128}
    return write_tiff(made, pixels.shape[1], len(pixels), **(values | tags))


def jpeg_strips(pixels: Pixels, **options: object) -> bytes:
    """A strip of 64 rows or fewer each, as JPEG files of their own."""
    strips = [saved(pixels[top : top + 64], "JPEG", quality=95, **options) for top in range(0, len(pixels), 64)]
    return write_tiff(strips, pixels.shape[1], len(pixels), t278=64, t259=7, t262=6, t530=(2, 2))


def test_the_files_that_the_tests_write_are_what_they_should_be(pixels: Pixels):
    assert (decode(tiff(pixels)).pixels == pixels).all()
    assert (decode(tiled(pixels, tiles(pixels))).pixels == pixels).all()
    assert decode(jpeg_strips(pixels, subsampling=2)).pixels.shape == pixels.shape


def palette_of_eight_bits(pixels: Pixels, **options: object) -> bytes:
    """As in the report python-pillow/Pillow#2157: values up to 255 in a colour map of 16 bits."""
    image = PIL.Image.fromarray(pixels).quantize(256)
    palette = np.asarray(image.getpalette(), np.uint8).reshape(-1, 3)
    colors = np.vstack([palette, np.zeros((256 - len(palette), 3), np.uint8)]).T.ravel().tolist()
    return tiff(np.asarray(image), t258=8, t262=3, t277=1, t320=colors)


def test_a_colour_map_of_eight_bits_is_read_as_one(pixels: Pixels):
    expected = np.asarray(PIL.Image.fromarray(pixels).quantize(256).convert("RGB"))
    assert (decode(palette_of_eight_bits(pixels)).pixels == expected).all()
    ordinary = saved(np.asarray(expected), compression="tiff_lzw")
    assert (decode(ordinary).pixels == expected).all()


def test_a_palette_compressed_by_differences_is_read(pixels: Pixels):
    """As in the report SixLabors/ImageSharp#3182."""
    image = PIL.Image.fromarray(pixels).quantize(256)
    file = io.BytesIO()
    image.save(file, "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    assert (decode(file.getvalue()).pixels == np.asarray(image.convert("RGB"))).all()


def test_strips_of_rgb_jpeg_are_read_as_rgb(pixels: Pixels):
    """As in the report haraldk/TwelveMonkeys#406: readers take components 0, 1 and 2 for YCbCr."""
    data = saved(pixels, compression="jpeg", quality=95).replace(
        b"\x03R\x11\0G\x11\0B\x11\0", b"\x03\0\x11\0\1\x11\0\2\x11\0"
    )
    data = data.replace(b"\x03R\0G\0B\0", b"\x03\0\0\1\0\2\0")
    assert np.abs(decode(data).pixels.astype(int) - pixels).mean() < 2


def test_alpha_that_is_nowhere_is_left_out(pixels: Pixels):
    for alpha in (0, 1):
        data = tiff(np.dstack([pixels, np.full(pixels.shape[:2], alpha, np.uint8)]), t258=(8, 8, 8, 8), t277=4)
        assert (decode(data).pixels == pixels).all()


def without(tag: int, index: int) -> Callable[[bytes], bytes]:
    """Set one value of a tag to 0."""

    def change(data: bytes) -> bytes:
        entries = int.from_bytes(data[4:8], "little") + 2
        at = next(i for i in range(entries, len(data), 12) if data[i : i + 2] == tag.to_bytes(2, "little"))
        size = 4 if data[at + 2] == 4 else 2
        place = int.from_bytes(data[at + 8 : at + 12], "little") + size * index
        return data[:place] + bytes(size) + data[place + size :]

    return change


def sparse_strips(pixels: Pixels) -> bytes:
    return without(279, 3)(without(273, 3)(tiff(pixels)))


def sparse_tiles(pixels: Pixels) -> bytes:
    """As in the report geotiffjs/geotiff.js#304."""
    made = [bytes(tile) for tile in tiles(pixels)]
    return without(325, 4)(without(324, 4)(tiled(pixels, made)))


def tile_of_zeros(pixels: Pixels) -> bytes:
    made = tiles(pixels)
    return tiled(pixels, [*made[:4], bytes(len(made[4])), *made[5:]])


def overwritten(pixels: Pixels, compression: str) -> bytes:
    """As in the report ScrollPrize/villa#1695: 4 KiB of the compressed data are others."""
    data = saved(pixels, compression=compression)
    return data[:80_000] + b"\xff" * 4096 + data[84_096:]


def short_jpeg_strip(pixels: Pixels) -> bytes:
    """The data of the third strip end early, and an end marker follows."""
    data = jpeg_strips(pixels, subsampling=2)
    ends = [found.end() for found in re.finditer(b"\xff\xd9", data)]
    middle = (ends[1] + ends[2]) // 2
    return data[:middle] + b"\xff\xd9" + data[middle + 2 :]


def deflated(pixels: Pixels, end: bool = True, more: bytes = b"") -> bytes:
    """One strip. Without its end, the last bytes are missing, and all pixels are there."""
    strip = zlib.compress(pixels.tobytes() + more)
    return write_tiff([strip if end else strip[:-6]], pixels.shape[1], len(pixels), t259=8)


def large_jpeg_strip(pixels: Pixels) -> bytes:
    strips = [saved(pixels, "JPEG", subsampling=2)] * 6
    return write_tiff(strips, pixels.shape[1], len(pixels), t278=64, t259=7, t262=6, t530=(2, 2))


def without_tag(data: bytes, tag: int) -> bytes:
    """Give a tag a number that no program knows, in the place of the last."""
    entries = int.from_bytes(data[4:8], "little") + 2
    count = int.from_bytes(data[entries - 2 : entries], "little")
    each = [data[at : at + 12] for at in range(entries, entries + 12 * count, 12)]
    each = [entry for entry in each if entry[:2] != tag.to_bytes(2, "little")]
    unknown = b"\xfe\xff\3\0\1\0\0\0\0\0\0\0"
    return data[:entries] + b"".join(each) + unknown + data[entries + 12 * count :]


def test_pieces_of_whole_files_may_be_longer_than_they_need(pixels: Pixels):
    """Some programs write the size of a full strip for the last one too, or fill that one up."""
    assert (decode(tiff(pixels, t279=[64 * 360 * 3] * 6)).pixels == pixels).all()
    full = np.vstack([pixels, np.zeros((21, 360, 3), np.uint8)])
    strips = [zlib.compress(full[top : top + 64].tobytes()) for top in range(0, 384, 64)]
    assert (decode(write_tiff(strips, 360, 363, t259=8, t278=64)).pixels == pixels).all()


def test_no_more_pictures_are_looked_for_than_are_many(pixels: Pixels):
    small = [PIL.Image.fromarray(pixels[:4, :4])] * (MANY + 5)
    with pytest.raises(ImageError, match=f"holds {MANY} or more pictures"):
        decode(saved(pixels[:4, :4], save_all=True, append_images=small))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (sparse_strips, "1 of its 6 strips or tiles were never written"),
        (sparse_tiles, "1 of its 9 strips or tiles were never written"),
        (tile_of_zeros, "1 of its 9 tiles are all zeros"),
        (lambda p: overwritten(p, "tiff_lzw"), "damaged or cut off"),
        (lambda p: overwritten(p, "tiff_adobe_deflate"), "damaged or cut off"),
        (short_jpeg_strip, "premature end of data"),
        (lambda p: tiff(p, t279=[64 * 360 * 3] * 6)[:-20000], "damaged|never written"),
        (lambda p: deflated(p, end=False), "a strip or tile ends before its compressed data do"),
        (lambda p: deflated(p, more=bytes(1 << 20)), "a strip or tile holds more than its pixels"),
        (lambda p: tiff(p, t273=[8] * 6, t279=[300_000] * 6), "its strips or tiles overlap"),
        (lambda p: tiff(p, rows=363, t279=(391_000, 80)), "it has 1 strips, but 2 sizes of strips"),
        (large_jpeg_strip, "a strip or tile of 360x64 pixels holds a JPEG of 360x363"),
    ],
)
def test_what_was_never_written_or_is_damaged_is_refused(pixels: Pixels, make: Callable[[Pixels], bytes], reason: str):
    with pytest.raises(IncompleteError, match=reason):
        decode(make(pixels))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_no_sector_of_zeros_in_compressed_strips_is_taken(pixels: Pixels, compression: str):
    data = saved(pixels, compression=compression)
    for share in range(1, 10):
        at = len(data) * share // 10 // 512 * 512
        with pytest.raises(ImageError, match=r"damaged|incomplete"):
            decode(data[:at] + bytes(512) + data[at + 512 :])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: tiff(p, t339=(2, 2, 2)), "holds signed numbers"),
        (lambda p: tiff(p[..., 0], t258=8, t262=1, t277=1, t339=2), "holds signed numbers"),
        (lambda p: tiff(p, t258=(32, 32, 32), t339=(3, 3, 3)), "holds floating-point numbers"),
        (lambda p: tiff(p, t262=1), "says that it is grey, but has 3 channels"),
        (lambda p: without_tag(tiff(p), 262), "does not say what its colours are"),
        (lambda p: without_tag(tiff(p, t259=5), 279), "does not say how large its compressed strips"),
        (lambda p: tiff(np.dstack([p, p]), t258=(8,) * 6, t277=6), "has 6 channels"),
        (lambda p: tiff(p, t277=42), "has 42 channels"),
        (lambda p: tiled(p, tiles(p), t322=60_000, t323=60_000), "tiles of 60000x60000 pixels"),
        (lambda p: tiff(p, t266=2), "bits are in reverse order"),
        (lambda p: tiff(p, t259=34712), "compressed by JPEG 2000"),
        (lambda p: tiff(p, t259=50001), "compressed by WebP"),
        (lambda p: tiff(p, t259=6), "compressed by JPEG of the old kind"),
        (lambda p: tiff(p, t259=12345), "compressed by method 12345"),
        (lambda p: tiff(p, t258=(12, 12, 12)), "12 bits per channel"),
        (lambda p: tiff(p, t258=(16, 16, 8)), "16 bits per channel"),
        (lambda p: jpeg_strips(p).replace(b"\x06\1\3\0\1\0\0\0\6\0", b"\x06\1\3\0\1\0\0\0\2\0"), "stored as YCbCr"),
        (lambda p: jpeg_strips(p, keep_rgb=True), "stored as RGB"),
        (
            lambda p: saved(p[..., 0], save_all=True, append_images=[PIL.Image.fromarray(p[..., i]) for i in (1, 2)]),
            "3 grey pictures, like the channels of one",
        ),
        (
            lambda p: saved(p, save_all=True, append_images=[PIL.Image.fromarray(p[::2, ::2])]),
            "2 pictures of different sizes",
        ),
    ],
)
def test_kinds_that_are_not_read_are_named(pixels: Pixels, make: Callable[[Pixels], bytes], reason: str):
    with pytest.raises(ImageError, match=reason) as caught:
        decode(make(pixels))
    assert not isinstance(caught.value, IncompleteError)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_libtiff_writes_nothing_to_the_terminal(pixels: Pixels, compression: str, capfd: pytest.CaptureFixture[str]):
    data = saved(pixels, compression=compression)
    damaged = data[:5000] + b"\x55" * 3000 + data[8000:]
    for read in (decode, as_pillow_does):
        with contextlib.suppress(ImageError, OSError):
            read(damaged)
    assert capfd.readouterr() == ("", "")
