import io
import zlib

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageCms
import pytest

from cartcls.runtime.errors import IncompleteError
from cartcls.runtime.images.colors import LARGE_PROFILE, MAX_PROFILE
from cartcls.runtime.images.decode import decode

Pixels = npt.NDArray[np.uint8]


def saved(pixels: Pixels, **options: object) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def with_chunk(pixels: Pixels, kind: bytes, body: bytes) -> bytes:
    data = saved(pixels)
    at = data.index(b"IDAT") - 4
    return data[:at] + chunk(kind, body) + data[at:]


def profile_of_bytes(size: int) -> bytes:
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    return size.to_bytes(4, "big") + profile[4:].ljust(size - 4, b"\0")


def test_damage_that_pillow_decodes_is_found_by_checksums(pixels: Pixels):
    data = saved(pixels)
    for size, fill in ((512, b"\0"), (512, b"\xff"), (1, b"\x55")):
        for end in range(512, 8192, 512):
            at = len(data) // 512 * 512 - end
            with pytest.raises(IncompleteError, match=r"a checksum is wrong|the PNG end marker is missing"):
                decode(data[:at] + fill * size + data[at + size :])


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"eXIf", b"garbage!"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2_000_000))),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(2_000_000))),
        (b"zTXt", b"Comment\0\1of another method"),
        (b"iCCP", b"sRGB\0\0" + zlib.compress(profile_of_bytes(2_000_000))),
    ],
)
def test_what_stands_beside_the_pixels_does_not_spoil_them(pixels: Pixels, kind: bytes, body: bytes):
    decoded = decode(with_chunk(pixels, kind, body))
    assert (decoded.pixels == pixels).all()
    assert decoded.doubt == ""


def test_a_colour_profile_that_is_too_large_is_a_doubt(pixels: Pixels):
    body = b"large\0\0" + zlib.compress(profile_of_bytes(MAX_PROFILE + 1))
    decoded = decode(with_chunk(pixels, b"iCCP", body))
    assert (decoded.pixels == pixels).all()
    assert decoded.doubt == LARGE_PROFILE


def test_rotation_in_a_text_is_applied(pixels: Pixels):
    """ImageMagick writes EXIF data as a text."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    raw = exif.tobytes()
    body = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n%8d\n%s\n" % (len(raw), raw.hex().encode()))
    assert (decode(with_chunk(pixels, b"zTXt", body)).pixels == np.rot90(pixels, -1)).all()
