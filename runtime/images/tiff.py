"""TIFF files: what they say of themselves, whether all of it was written, and colour maps of 8 bits."""

import ctypes
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import PIL._imaging
import PIL.Image
import PIL.ImageFile
import PIL.TiffImagePlugin

from ..errors import ImageError, IncompleteError
from .jpeg import DAMAGED, decode_jpeg, read_stream
from .written import check_compressed, check_pixels, has_black_zeros

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES = 273, 277, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_SIZES = 322, 323, 324, 325
PLANAR, COLOR_MAP, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES = 284, 320, 338, 339, 347

RAW, LZW, JPEG, PACKBITS = 1, 5, 7, 32773
DEFLATE = (8, 32946)
READ = {RAW, 2, 3, 4, LZW, JPEG, *DEFLATE, PACKBITS, 34925, 50000}
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
GREY, RGB, PALETTE, YCC = (0, 1), 2, 3, 6
COLORS = {4: "mask", 5: "CMYK", 8: "LAB", 9: "LAB", 10: "LAB", 32803: "raw camera", 34892: "raw camera"}
NUMBERS = {2: "signed numbers", 3: "floating-point numbers", 5: "complex numbers", 6: "complex numbers"}

MAX_PIECE = 1 << 26  # pixels of a strip or tile
AT_A_TIME = 1 << 20  # inflated bytes

Tags = PIL.TiffImagePlugin.ImageFileDirectory_v2


def silence_libtiff() -> None:
    """Stop libtiff from writing warnings and errors to the terminal; it has no other setting, and Pillow none."""
    library = ctypes.CDLL(PIL._imaging.__file__)  # its symbols and those of the libraries that it uses
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        setter = getattr(library, name, None)  # none in a Pillow that links it statically
        if setter is not None:
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)


def check_tags(data: bytes) -> None:
    """Refuse a TIFF of an unsupported kind.

    Raises:
        ImageError: With what it is.
    """
    if data.startswith(b"MM\0+"):
        raise ImageError("is a BigTIFF of the byte order MM, which is not read: export it as an ordinary TIFF")
    tags = _tags(data)
    compression = tags.get(COMPRESSION, RAW)
    if compression not in READ:
        name = COMPRESSIONS.get(compression, f"method {compression}")
        raise ImageError(f"is a TIFF compressed by {name}, which is not read: export it with LZW")
    for number in tags.get(SAMPLE_FORMAT, ()):
        if number in NUMBERS:
            raise ImageError(f"holds {NUMBERS[number]}: export it with 8 bits per channel, without sign")
    if max(tags.get(BITS, (1,))) > 8:
        raise ImageError("has more than 8 bits per channel, which is not supported yet: export it with 8 bits")
    if tags.get(FILL_ORDER, 1) != 1 and max(tags.get(BITS, (1,))) > 1:
        raise ImageError("says that its bits are in reverse order, which programs read differently: export it again")
    _check_colors(tags, compression)


def check_tiff(image: PIL.ImageFile.ImageFile, data: bytes) -> None:
    """Find damage that libtiff does not tell.

    Raises:
        IncompleteError: A strip or tile was never written, or is damaged.
        ImageError: Its colours are not what it says.
    """
    tags = _tags(data)
    compression, strips = tags.get(COMPRESSION, RAW), list(_strips(tags))
    unwritten = sum(not start or not length for start, length in strips)
    if unwritten or not strips:
        raise IncompleteError(f"is incomplete: {unwritten} of its {len(strips)} strips or tiles were never written")
    if TILES in tags and any(start + length > len(data) for start, length in strips):
        raise IncompleteError(f"{DAMAGED}it is shorter than it says")
    if sum(max(0, min(length, len(data) - start)) for start, length in strips) > len(data):
        raise IncompleteError(f"{DAMAGED}its strips or tiles overlap")
    piece = _piece(tags)
    if compression == RAW and has_black_zeros(image) and tags.get(PHOTOMETRIC) != 0:
        _check_raw(data, strips, TILES in tags)
    for start, length in strips:
        strip = data[start : start + length]
        if compression == JPEG:
            _check_jpeg(strip, tags, piece)
        elif compression in DEFLATE:
            _check_deflated(strip, piece.size)
        elif compression in (LZW, PACKBITS):
            check_compressed(strip)


def mend_color_map(image: PIL.Image.Image) -> None:
    """Take a colour map of 8 bits as what it is: Pillow divides it by 256. The rule is libtiff's."""
    colors = getattr(image, "tag_v2", {}).get(COLOR_MAP)
    if image.mode == "P" and colors and max(colors) < 256:
        count = len(colors) // 3
        image.putpalette(bytes(colors[channel * count + i] for i in range(count) for channel in range(3)))


def _tags(data: bytes) -> Tags:
    header = data[:16] if data[2:4] in (b"+\0", b"\0+") else data[:8]
    tags, file = Tags(header), io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _check_colors(tags: Tags, compression: int) -> None:
    photometric, samples = tags.get(PHOTOMETRIC), tags.get(SAMPLES, 1)
    if photometric is None and WIDTH in tags and HEIGHT in tags:  # else no TIFF directory
        raise ImageError("does not say what its colours are, which programs guess differently: export it again")
    if photometric in COLORS or (photometric == YCC and compression != JPEG):
        raise ImageError(f"has {COLORS.get(photometric, 'YCbCr')} colours: export it as RGB")
    if photometric in GREY and samples > 2:
        raise ImageError(f"says that it is grey, but has {samples} channels: export it as RGB")
    if photometric == RGB and samples < 3:
        raise ImageError(f"says that it is RGB, but has {samples} channel(s): export it as RGB")
    if samples > 4:
        raise ImageError(f"has {samples} channels: export it as RGB")


@dataclass(frozen=True)
class _Piece:
    """What a strip or tile holds, but for a last strip: its width and height, and bytes per row."""

    width: int
    height: int
    row: int

    @property
    def size(self) -> int:
        return self.row * self.height


def _piece(tags: Tags) -> _Piece:
    if TILES in tags:
        width, height = tags[TILE_WIDTH], tags[TILE_HEIGHT]
    else:
        width, height = tags[WIDTH], min(tags.get(ROWS_PER_STRIP, tags[HEIGHT]), tags[HEIGHT])
    if width * height > MAX_PIECE:
        raise ImageError(f"has strips or tiles of {width}x{height} pixels, which need too much memory: export it again")
    samples = 1 if tags.get(PLANAR, 1) == 2 else tags.get(SAMPLES, 1)
    return _Piece(width, height, (width * max(tags.get(BITS, (1,))) * samples + 7) // 8)


def _strips(tags: Tags) -> Iterator[tuple[int, int]]:
    starts, sizes = (TILES, TILE_SIZES) if TILES in tags else (STRIPS, STRIP_SIZES)
    if starts in tags and sizes in tags:
        if len(tags[starts]) != len(tags[sizes]):
            pieces = "tiles" if TILES in tags else "strips"
            raise IncompleteError(
                f"{DAMAGED}it has {len(tags[starts])} {pieces}, but {len(tags[sizes])} sizes of {pieces}"
            )
        yield from zip(tags[starts], tags[sizes], strict=True)
    elif starts in tags and tags.get(COMPRESSION, RAW) != RAW:
        raise ImageError("does not say how large its compressed strips or tiles are: export it again")
    elif starts in tags:  # old programs leave the sizes out
        piece, planar = _piece(tags), tags.get(PLANAR, 1) == 2
        row, rows = piece.row, piece.height
        last = tags[HEIGHT] - (tags[HEIGHT] - 1) // rows * rows
        count = len(tags[starts]) // (tags.get(SAMPLES, 1) if planar else 1)
        for number, start in enumerate(tags[starts]):
            yield start, row * (last if number % count == count - 1 else rows)


def _check_raw(data: bytes, strips: list[tuple[int, int]], tiled: bool) -> None:
    if not tiled:
        check_pixels(data, strips)
        return
    first, _ = strips[0]
    if any(data[first : first + 3]):  # else framed in black; tiles at the border are filled up with zeros
        empty = sum(not any(data[start : start + length]) for start, length in strips)
        if empty:
            raise IncompleteError(f"is incomplete: {empty} of its {len(strips)} tiles are all zeros")


def _check_jpeg(strip: bytes, tags: Tags, piece: _Piece) -> None:
    tables = tags.get(JPEG_TABLES, b"")
    stream_data = tables[:-2] + strip[2:] if tables else strip
    stream, photometric = read_stream(stream_data), tags.get(PHOTOMETRIC)
    if len(stream.components) not in (1, 3):
        raise ImageError(f"is a JPEG with {len(stream.components)} channels inside a TIFF: export it as RGB")
    if stream.width > piece.width or stream.height > piece.height:
        size, expected = f"{stream.width}x{stream.height}", f"{piece.width}x{piece.height}"
        raise IncompleteError(f"{DAMAGED}a strip or tile of {expected} pixels holds a JPEG of {size}")
    decode_jpeg(stream_data)
    if photometric == RGB and (stream.seems_ycc or stream.jfif):
        raise ImageError("says that its colours are RGB, but they are stored as YCbCr: export it again")
    if photometric == YCC and stream.seems_rgb:
        raise ImageError("says that its colours are YCbCr, but they are stored as RGB: export it again")


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
