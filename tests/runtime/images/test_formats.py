from pathlib import Path

import pytest

from cartcls.runtime.errors import ImageError, IncompleteError
from cartcls.runtime.images.decode import decode


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1miaf", "AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41avc1", "MP4"),
        (b"GIF89a", "GIF"),
        (b"P6\n10 10\n255\n", "PNM"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_formats_that_are_not_read_are_named(start: bytes, name: str):
    with pytest.raises(ImageError, match=f"format {name}, which is not read: export it as PNG") as caught:
        decode(start + bytes(100))
    assert not isinstance(caught.value, IncompleteError)


@pytest.mark.parametrize(("start", "name"), [(b"ZISRAWFILE", "Zeiss CZI"), (b"\x89HDF\r\n\x1a\n", "HDF5")])
def test_vendor_files_are_named_whatever_they_are_called(start: bytes, name: str):
    with pytest.raises(ImageError, match=f"is a {name} file: export the cells as TIFF"):
        decode(start + bytes(100), ".jpg")


def test_what_is_nothing_known_may_still_be_written(slide: Path):
    with pytest.raises(IncompleteError, match="is not a JPEG, PNG, BMP, TIFF or WebP image"):
        decode(bytes(1000))
