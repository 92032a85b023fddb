import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from odd_images import as_pillow_does

from cartcls.runtime.errors import ImageError, IncompleteError
from cartcls.runtime.images.decode import decode
from cartcls.runtime.images.jpeg import MAX_SCANS, ZEROS, decode_jpeg

SCAN = re.compile(rb"\xff\xda\x00[\x08-\x0c]")
END = b"\xff\xd9"


@pytest.fixture
def jpeg(slide: Path) -> bytes:
    return (slide / "cell-01.jpg").read_bytes()


def saved(jpeg: bytes, **options: object) -> bytes:
    file = io.BytesIO()
    with PIL.Image.open(io.BytesIO(jpeg)) as image:
        image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def coded(jpeg: bytes) -> tuple[int, int]:
    """Where the data of the first scan begin, and those of the last end."""
    scan = next(SCAN.finditer(jpeg))
    return scan.start() + 2 + int.from_bytes(jpeg[scan.start() + 2 : scan.end()], "big"), jpeg.rindex(END)


WAYS: list[dict[str, object]] = [{}, {"subsampling": 2}, {"optimize": True}, {"progressive": True}]
WAYS.append({"restart_marker_rows": 1})


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_no_damage_is_taken_that_pillow_hides(jpeg: bytes, options: dict[str, object]):
    whole = saved(jpeg, **options)
    start, end = coded(whole)
    for share in range(1, 20):
        at = start + (end - start - 1024) * share // 20
        sector = -(-at // 512) * 512
        for damaged in (
            whole[:at] + END,
            whole[:at] + whole[at + 700 :],
            whole[:sector] + bytes(512) + whole[sector + 512 :],
        ):
            with pytest.raises(ImageError, match=r"damaged or cut off|incomplete"):
                decode(damaged)


def test_a_progressive_jpeg_that_ends_after_some_of_its_scans_is_incomplete(jpeg: bytes):
    whole = saved(jpeg, progressive=True)
    assert (decode(whole).pixels == as_pillow_does(whole)).all()
    for scan in list(SCAN.finditer(whole))[1:]:
        assert as_pillow_does(whole[: scan.start()] + END).shape
        with pytest.raises(IncompleteError, match="ends before its last scan"):
            decode(whole[: scan.start()] + END)


def test_the_last_bits_of_one_component_are_enough_to_be_incomplete(jpeg: bytes):
    """As in the report imazen/zenjpeg#63."""
    whole = saved(jpeg, progressive=True)
    for scan in list(SCAN.finditer(whole))[1:-1]:
        following = re.compile(rb"\xff[\xc4\xda]").search(whole, scan.end())
        assert following
        with pytest.raises(ImageError, match=r"ends before its last scan|damaged"):
            decode(whole[: scan.start()] + whole[following.start() :])


def limits_of_a_camera(jpeg: bytes) -> bytes:
    """As in the report opencv/opencv#24212: phones write zeros where a sequential scan has 0, 63, 0."""
    start, _ = coded(jpeg)
    return jpeg[: start - 3] + b"\0\0\0" + jpeg[start:]


def bytes_between_segments(jpeg: bytes) -> bytes:
    """As in the report python-pillow/Pillow#9106: 11 bytes before a marker."""
    at = jpeg.index(b"\xff\xdb")
    return jpeg[:at] + b"eleven byte" + jpeg[at:]


def zeros_before_the_end(jpeg: bytes) -> bytes:
    """As in the report opencv/opencv#9477."""
    return jpeg[:-2] + bytes(40) + END


def zeros_before_restarts(jpeg: bytes) -> bytes:
    """As in the report libavg/libavg#782: a webcam fills its intervals up."""
    whole = saved(jpeg, restart_marker_rows=1)
    start, _ = coded(whole)
    return whole[:start] + re.sub(rb"\xff[\xd0-\xd7]", lambda found: bytes(3) + found[0], whole[start:])


@pytest.mark.parametrize(
    "make", [limits_of_a_camera, bytes_between_segments, zeros_before_the_end, zeros_before_restarts]
)
def test_what_only_looks_like_damage_is_read(jpeg: bytes, make: Callable[[bytes], bytes]):
    unusual = make(jpeg)
    expected = as_pillow_does(saved(jpeg, restart_marker_rows=1) if make is zeros_before_restarts else jpeg)
    assert (decode(unusual).pixels == expected).all()


@pytest.mark.parametrize("options", [*WAYS, {"keep_rgb": True}], ids=str)
def test_whole_jpegs_of_any_kind_are_read_as_pillow_reads_them(jpeg: bytes, options: dict[str, object]):
    whole = saved(jpeg, **options)
    assert (decode(whole).pixels == as_pillow_does(whole)).all()


def test_zeros_that_code_a_flat_area_are_no_damage():
    file = io.BytesIO()
    white = np.full((800, 800), 255, np.uint8)
    white[:200] = np.arange(800) % 256
    PIL.Image.fromarray(white).save(file, "JPEG", optimize=True)
    assert ZEROS in file.getvalue()
    assert (decode(file.getvalue()).pixels == as_pillow_does(file.getvalue())).all()


def framed(jpeg: bytes, marker: int, at: int | None = None, value: bytes = b"") -> bytes:
    """Give the frame another marker, or other bytes."""
    frame = jpeg.index(b"\xff\xc0")
    changed = jpeg[: frame + 1] + bytes([marker]) + jpeg[frame + 2 :]
    return changed if at is None else changed[: frame + at] + value + changed[frame + at + len(value) :]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda jpeg: framed(jpeg, 0xC1, 4, b"\x0c"), "JPEG with 12 bits per channel"),
        (lambda jpeg: framed(jpeg, 0xC3), "is a lossless JPEG"),
        (lambda jpeg: framed(jpeg, 0xC5), "is a hierarchical JPEG"),
        (lambda jpeg: framed(jpeg, 0xC9), "JPEG with arithmetic coding"),
        (lambda jpeg: framed(jpeg, 0xC0, 5, b"\0\0"), "does not say how high it is"),
    ],
)
def test_kinds_that_are_not_read_are_named(jpeg: bytes, make: Callable[[bytes], bytes], reason: str):
    with pytest.raises(ImageError, match=reason) as caught:
        decode(make(jpeg))
    assert not isinstance(caught.value, IncompleteError)


def test_colours_that_are_not_what_the_file_says_are_refused(jpeg: bytes):
    plain = saved(jpeg, subsampling=2)
    jfif = plain.index(b"\xff\xe0")
    rest = plain[jfif + 2 + int.from_bytes(plain[jfif + 2 : jfif + 4], "big") :]
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
    assert (decode(plain[:jfif] + adobe + b"\1" + rest).pixels == as_pillow_does(plain)).all()
    with pytest.raises(ImageError, match="says that its colours are RGB, but they are stored as YCbCr"):
        decode(plain[:jfif] + adobe + b"\0" + rest)


def test_many_zeros_inside_a_scan_take_no_long_time(jpeg: bytes):
    """Megabytes that are neither before a restart marker nor at the end; quadratic time would be hours."""
    data = saved(jpeg, progressive=True)
    with pytest.raises(IncompleteError, match="damaged or cut off"):
        decode_jpeg(data[:-20] + bytes(4_000_000) + b"\x55" + END)


def test_more_scans_than_any_program_writes_are_refused(jpeg: bytes):
    data = saved(jpeg, progressive=True)
    *_, last = SCAN.finditer(data)
    again = data[last.start() : -2]
    with pytest.raises(ImageError, match=f"more than {MAX_SCANS} scans") as caught:
        decode(data[:-2] + again * MAX_SCANS + END)
    assert not isinstance(caught.value, IncompleteError)
