"""What a file is, by its first bytes: one of the formats that are read, or another that is named in the reason."""

from ..errors import ImageError

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

VENDOR_SUFFIXES = {".czi": "Zeiss CZI", ".nd2": "Nikon ND2", ".lif": "Leica LIF"}
VENDOR_STARTS = {
    b"ZISRAWFILE": "Zeiss CZI",
    b"\xda\xce\xbe\x0a": "Nikon ND2",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "Olympus OIB or another OLE",
    b"\x89HDF\r\n\x1a\n": "HDF5",
}
OTHER_STARTS = {
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"II\xbc": "JPEG XR",
    b"GIF8": "GIF",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
    b"SIMPLE  =": "FITS",
    b"v/1\x01": "OpenEXR",
    b"\0\0\1\0": "icon",
    b"\x97JB2": "JBIG2",
}
BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIC": (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"),
}


def format_of(data: bytes) -> str | None:
    """Which of the formats that are read it seems to be; None where it is none of them."""
    starts = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"BM": "BMP", **dict.fromkeys(TIFF_STARTS, "TIFF")}
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for start, name in starts.items() if data.startswith(start)), None)


def refuse_other_formats(data: bytes, suffix: str) -> None:
    """Name a format that is not read.

    Raises:
        ImageError: It is of such a format.
    """
    vendor = VENDOR_SUFFIXES.get(suffix.lower()) or _starting(data, VENDOR_STARTS)
    if vendor:
        raise ImageError(f"is a {vendor} file: export the cells as TIFF")
    other = _starting(data, OTHER_STARTS)
    if data[4:8] == b"ftyp":
        brands = data[8 : int.from_bytes(data[:4], "big")]  # the main one, its version, and those that it agrees with
        other = next((name for name, codes in BRANDS.items() if any(code in brands for code in codes)), "MP4")
    if data[:1] == b"P" and data[1:2] in b"1234567" and data[2:3].isspace():
        other = "PNM"
    if data[128:132] == b"DICM":
        other = "DICOM"
    if other:
        raise ImageError(f"is a file of the format {other}, which is not read: export it as PNG, TIFF or JPEG")


def _starting(data: bytes, starts: dict[bytes, str]) -> str | None:
    return next((name for start, name in starts.items() if data.startswith(start)), None)
