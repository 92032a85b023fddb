"""TIFF files: which kinds are not read, whether all of a picture was written, and colour maps of 8 bits."""

import ctypes
import zlib

import PIL._imaging
import PIL.Image

from ..errors import ImageError, IncompleteError
from . import tiff_tags as tag
from .jpeg import DAMAGED, decode_jpeg
from .tiff_pieces import (
    DECODED,
    DEFLATE,
    GREY,
    JPEG,
    LZW,
    PACKBITS,
    RAW,
    RGB,
    YCC,
    checked_jpeg,
    piece_of,
    strips_of,
)
from .tiff_tags import Tags
from .written import check_compressed, check_pixels

READ = {2, 3, 4, *DECODED}
COMPRESSIONS = {
    6: "JPEG of the old kind",
    22610: "JPEG XR",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "LogLuv",
    34677: "LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of raw camera data",
    34934: "JPEG XR",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
COLORS = {4: "mask", 5: "CMYK", 8: "LAB", 9: "LAB", 10: "LAB", 32803: "raw camera", 34892: "raw camera"}
NUMBERS = {2: "signed numbers", 3: "floating-point numbers", 5: "complex numbers", 6: "complex numbers"}

AT_A_TIME = 1 << 20  # inflated bytes


def silence_libtiff() -> None:
    """Stop libtiff from writing warnings and errors to the terminal; it has no other setting, and Pillow none."""
    library = ctypes.CDLL(PIL._imaging.__file__)  # its symbols and those of the libraries that it uses
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        setter = getattr(library, name, None)  # none in a Pillow that links it statically
        if setter is not None:
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)


def check_tags(tags: Tags) -> None:
    """Refuse a picture of an unsupported kind.

    Raises:
        ImageError: With what it is.
    """
    compression = tags.one(tag.COMPRESSION, RAW)
    if compression not in READ:
        name = COMPRESSIONS.get(compression, f"method {compression}")
        raise ImageError(f"is a TIFF compressed by {name}, which is not read: export it with LZW")
    for number in tags.all(tag.SAMPLE_FORMAT):
        if number in NUMBERS:
            raise ImageError(f"holds {NUMBERS[number]}: export it with 8 or 16 bits per channel, without sign")
    if tags.bits > 8 and set(tags.all(tag.BITS)) != {16}:
        raise ImageError(f"has {tags.bits} bits per channel, which is not read: export it with 8 or 16 bits")
    if tags.one(tag.FILL_ORDER, 1) != 1 and tags.bits > 1:
        raise ImageError("says that its bits are in reverse order, which programs read differently: export it again")
    _check_colors(tags, compression)


def check_places(tags: Tags, size: int) -> list[tuple[int, int]]:
    """Find strips or tiles that are missing, or overlap.

    Args:
        tags: What the file says of the picture.
        size: Of the file in bytes.

    Returns:
        Start and size in bytes of each strip or tile.

    Raises:
        IncompleteError: There are such.
    """
    strips = list(strips_of(tags))
    unwritten = sum(not start or not length for start, length in strips)
    if unwritten or not strips:
        raise IncompleteError(f"is incomplete: {unwritten} of its {len(strips)} strips or tiles were never written")
    if tag.TILES in tags and any(start + length > size for start, length in strips):
        raise IncompleteError(f"{DAMAGED}it is shorter than it says")
    if sum(max(0, min(length, size - start)) for start, length in strips) > size:
        raise IncompleteError(f"{DAMAGED}its strips or tiles overlap")
    return strips


def check_written(tags: Tags, data: bytes) -> None:
    """Find damage of a picture that libtiff does not tell.

    Raises:
        IncompleteError: A strip or tile was never written, or is damaged.
        ImageError: Its colours are not what it says.
    """
    compression, strips = tags.one(tag.COMPRESSION, RAW), check_places(tags, len(data))
    piece = piece_of(tags)
    if compression == RAW and tags.bits > 1 and tags.one(tag.PHOTOMETRIC, RGB) in (1, RGB):  # zeros are black
        _check_raw(data, strips, tag.TILES in tags)
    for start, length in strips:
        strip = data[start : start + length]
        if compression == JPEG:
            decode_jpeg(checked_jpeg(strip, tags, piece))
        elif compression in DEFLATE:
            _check_deflated(strip, piece.size)
        elif compression in (LZW, PACKBITS):
            check_compressed(strip)


def mend_color_map(image: PIL.Image.Image) -> None:
    """Take a colour map of 8 bits as what it is: Pillow divides it by 256. The rule is libtiff's."""
    colors = getattr(image, "tag_v2", {}).get(tag.COLOR_MAP)
    if image.mode == "P" and colors and max(colors) < 256:
        count = len(colors) // 3
        image.putpalette(bytes(colors[channel * count + i] for i in range(count) for channel in range(3)))


def _check_colors(tags: Tags, compression: int) -> None:
    photometric, samples = tags.one(tag.PHOTOMETRIC, -1), tags.one(tag.SAMPLES, 1)
    if photometric < 0 and all(tags.size):  # else no TIFF directory
        raise ImageError("does not say what its colours are, which programs guess differently: export it again")
    if photometric in COLORS or (photometric == YCC and compression != JPEG):
        raise ImageError(f"has {COLORS.get(photometric, 'YCbCr')} colours: export it as RGB")
    if photometric in GREY and samples > 2:
        raise ImageError(f"says that it is grey, but has {samples} channels: export it as RGB")
    if photometric == RGB and samples < 3:
        raise ImageError(f"says that it is RGB, but has {samples} channel(s): export it as RGB")
    if samples > 4:
        raise ImageError(f"has {samples} channels: export it as RGB")


def _check_raw(data: bytes, strips: list[tuple[int, int]], tiled: bool) -> None:
    if not tiled:
        check_pixels(data, strips)
        return
    first, _ = strips[0]
    if any(data[first : first + 3]):  # else framed in black; tiles at the border are filled up with zeros
        empty = sum(not any(data[start : start + length]) for start, length in strips)
        if empty:
            raise IncompleteError(f"is incomplete: {empty} of its {len(strips)} tiles are all zeros")


def _check_deflated(strip: bytes, size: int) -> None:
    inflate = zlib.decompressobj()
    while not inflate.eof:
        try:
            inflated = len(inflate.decompress(strip, AT_A_TIME))
        except zlib.error as error:
            raise IncompleteError(f"{DAMAGED}{error}") from None
        size, strip = size - inflated, inflate.unconsumed_tail
        if size < 0:
            raise IncompleteError(f"{DAMAGED}a strip or tile holds more than its pixels")
        if inflated < AT_A_TIME and not inflate.eof:
            raise IncompleteError(f"{DAMAGED}a strip or tile ends before its compressed data do")
