import io
import struct

import numpy as np
import pytest
from tiffs import of_tifffile, write_tiff

from cartcls.runtime.errors import ImageError, IncompleteError
from cartcls.runtime.images import tiff_tags as tag
from cartcls.runtime.images.tiff_tags import MANY, read_directories

GREY = np.full((6, 5), 200, np.uint8)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_directories_of_every_kind_say_the_same(order: str, big: bool):
    data = of_tifffile(GREY, GREY[:3], bigtiff=big, byteorder=order, resolution=(300, 100), first="of a camera")
    first, second = read_directories(io.BytesIO(data))
    assert (first.order, first.big, first.size, first.bits, first.pixels) == (order, big, (5, 6), 8, 30)
    assert (first.description, first.all(tag.X_RESOLUTION)) == ("of a camera", (300, 1))
    assert (first.is_preview, second.is_preview, second.size) == (False, True, (5, 3))
    assert (first.one(tag.TILES, 7), first.all(tag.TILES), first.raw(tag.TILES)) == (7, (), b"")


def chained(*starts: int) -> bytes:
    """Directories without tags, each with the place of the next one."""
    data = b"II*\0" + struct.pack("<I", 8)
    for start in starts:
        data += struct.pack("<HI", 0, start)
    return data


def test_a_circle_of_directories_ends():
    assert len(read_directories(io.BytesIO(chained(14, 8)))) == 2
    assert len(read_directories(io.BytesIO(chained(*(14 + 6 * n for n in range(MANY + 20)))))) == MANY


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no header"),
        (b"II*\0\1", "no header"),
        (b"II*\0\0\0\0\0", "says nothing of its picture"),
        (b"II*\0\xff\xff\xff\xff", "does not lie in the file"),
        (b"II+\0\x08\0\0\0" + b"\xff" * 8, "does not lie in the file"),
        (b"MM\0+\0\x08\0\0" + b"\0" * 7 + b"\x10" + b"\xff" * 8, "has 18446744073709551615 tags"),
        (chained(1000), "does not lie in the file"),
    ],
)
def test_a_directory_outside_the_file_is_damage(data: bytes, reason: str):
    with pytest.raises(IncompleteError, match=reason):
        read_directories(io.BytesIO(data))


def entry(number: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", number, kind, count, value)


def with_entries(*entries: bytes) -> bytes:
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)


def test_values_that_the_file_cannot_hold_are_missing():
    (tags,) = read_directories(
        io.BytesIO(
            with_entries(
                entry(tag.STRIPS, 4, 2**32 - 1, 8),
                entry(tag.WIDTH, 4, 1, 5),
                entry(tag.STRIP_SIZES, 4, 10, 2**32 - 9),
                entry(tag.HEIGHT, 99, 1, 5),
                entry(tag.WIDTH, 4, 1, 6),
                entry(tag.BITS, 3, 0, 0),
            )
        )
    )
    assert tags.size == (5, 0)
    assert not {tag.STRIPS, tag.STRIP_SIZES, tag.HEIGHT, tag.BITS} & set(tags.values)


def test_all_values_together_are_no_larger_than_the_file():
    """Else one that is long, named by a thousand directories, would fill the memory."""
    size = 1000
    tags = [entry(number, 1, size, 8) for number in (tag.DESCRIPTION, tag.PROFILE, tag.JPEG_TABLES)]
    (found,) = read_directories(io.BytesIO(with_entries(*tags).ljust(size + 500, b" ")))
    assert len(found.values) == 1


def test_more_strips_than_any_picture_needs_are_refused():
    data = write_tiff([bytes(4)], 1, 1, t273=[8] * 1_100_000, t279=[1] * 1_100_000)
    (tags,) = read_directories(io.BytesIO(data))
    with pytest.raises(ImageError, match=r"number 273.*too many"):
        tags.all(tag.STRIPS)
