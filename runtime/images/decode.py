"""From a path to pixels: regular files only, read once, hashed, and decoded strictly.

Decoders return an image for nearly every damaged file. So JPEGs are decoded by simplejpeg, where each warning is an
error, the others by Pillow, and what no decoder tells is checked by `jpeg`, `png`, `tiff` and `written`.
"""

import errno
import hashlib
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageFile

from ..errors import ImageError, IncompleteError
from .colors import profile_of, to_rgb, transform_to_srgb
from .formats import FORMATS, format_of, refuse_other_formats
from .jpeg import DAMAGED, check_jpeg, decode_jpeg
from .levels import FULL_RANGE, Levels
from .png import check_png, decode_deep_png, without_texts
from .resize import Image
from .tiff import mend_color_map, silence_libtiff
from .tiff_pages import DEEP, largest, open_tiff
from .written import check_bmp, check_webp

MAX_PIXELS = 50_000_000
MAX_BYTES = 64 * 1024 * 1024
CHUNK = 1 << 18  # bytes that are hashed at a time: what a processor's own memory holds
LARGE_PIXELS = 4_000_000
HEADER_CHECKS: dict[str, Callable[[bytes], None]] = {
    "JPEG": check_jpeg,
    "PNG": check_png,
    "WEBP": check_webp,
}
WHOLE_CHECKS: dict[str, Callable[[PIL.ImageFile.ImageFile, bytes], None]] = {"BMP": check_bmp}

ORIENTATION = 0x0112  # of EXIF
UPRIGHT: dict[int, Callable[[Image], Image]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}

_LARGE = threading.Lock()
silence_libtiff()


@dataclass(frozen=True)
class Fingerprint:
    """What shows that a file may have changed, without reading it.

    The change time tells of new bytes where size, time and inode are as before. A change of owner changes it too: then
    the bytes decide.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True)
class RawFile:
    """The bytes of one file, as they were read once."""

    data: bytes
    sha256: str
    fingerprint: Fingerprint


class Decoded(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: RGB, uint8, (H, W, 3).
        doubt: Why its colours may be wrong, for a person to read; empty where nothing is known to be.
        deep: Whether the file has more than 8 bits per channel, so that the levels made its pixels.
    """

    pixels: Image
    doubt: str = ""
    deep: bool = False


def fingerprint(path: bytes | str | Path) -> Fingerprint | None:
    """Fingerprint of a file, or of the link itself; None where there is none."""
    try:
        return _fingerprint(os.lstat(path))
    except OSError:
        return None


def read_file(path: bytes | str | Path, limit: int = MAX_BYTES) -> RawFile:
    """Read a regular file once, following no link and never waiting for a pipe.

    Raises:
        IncompleteError: The file is missing, cannot be opened, empty, or changed while it was read.
        ImageError: It is not a regular file, or too large.
    """
    with open_file(path, limit) as (file, before):
        with read_errors_told():
            data = file.read()
        check_unchanged(file, before)
    if not data:
        raise IncompleteError("is empty (0 bytes)")
    return RawFile(data, hashlib.sha256(data).hexdigest(), before)


@contextmanager
def open_file(path: bytes | str | Path, limit: int) -> Iterator[tuple[BinaryIO, Fingerprint]]:
    """Open a regular file, following no link and never waiting for a pipe.

    Args:
        path: Of the file.
        limit: How many bytes it may have.

    Raises:
        IncompleteError: The file is missing, or cannot be opened.
        ImageError: It is not a regular file, or too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise IncompleteError("has vanished") from None
    except OSError as error:
        reasons = {
            errno.ELOOP: "is a symbolic link: copy the image itself into the folder",
            errno.ENXIO: "is not a regular file",
        }
        reason = reasons.get(error.errno or 0)
        if reason is None:  # another program may lock it, or the share be disconnected
            raise IncompleteError(f"cannot be opened: {error.strerror}") from None
        raise ImageError(reason) from None
    try:
        with read_errors_told():
            status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("is not a regular file")
        if status.st_size > limit:
            raise ImageError(too_large(limit))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file, _fingerprint(status)
    finally:
        os.close(descriptor)


def too_large(limit: int) -> str:
    """The reason of a file with more bytes than `limit`."""
    return f"is larger than {limit >> 20} MB: export the part with the cells, or compress it"


def hash_file(path: bytes | str | Path, limit: int) -> tuple[str, Fingerprint]:
    """SHA-256 and fingerprint of a regular file, which may be larger than the memory.

    Raises:
        IncompleteError: The file is missing, cannot be read, or changed while it was.
        ImageError: It is not a regular file, or too large.
    """
    with open_file(path, limit) as (file, before):
        with read_errors_told():
            digest = sha256_of(file)
        check_unchanged(file, before)
    return digest, before


def sha256_of(file: BinaryIO) -> str:
    """SHA-256 of an open file."""
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def check_unchanged(file: BinaryIO, before: Fingerprint) -> None:
    """Raise `IncompleteError` where an open file is no more what it was."""
    with read_errors_told():
        after = _fingerprint(os.fstat(file.fileno()))
    if after != before:
        raise IncompleteError("was still being written")


@contextmanager
def read_errors_told() -> Iterator[None]:
    """Turn an error of the disk, or of a share that is away, into an `IncompleteError`: it is read again later."""
    try:
        yield
    except OSError as error:
        raise IncompleteError(f"cannot be read: {error.strerror}") from None


def _fingerprint(status: os.stat_result) -> Fingerprint:
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def decode(data: bytes, suffix: str = "", levels: Levels = FULL_RANGE) -> Decoded:
    """Decode the bytes of one still image into upright RGB pixels.

    JPEG, PNG, BMP, TIFF and WebP with 8 bits per channel are read, and PNG and TIFF with 16; of a TIFF with smaller
    copies of its picture that of full size, of an OME-TIFF with several planes the sharpest one. EXIF rotation and
    colour profile are applied; transparent pixels become white, like an empty field of the slide.

    Args:
        data: The whole file.
        suffix: The file name's suffix, only to name formats of microscope vendors.
        levels: Values of 16 bits that are black and white.

    Raises:
        IncompleteError: The bytes are damaged, cut off or not an image: the file may still be being written.
        ImageError: The image is of an unsupported kind. Both messages give the reason, for a person to read.
    """
    refuse_other_formats(data, suffix)
    with told_as_reasons():
        if header_check := HEADER_CHECKS.get(format_of(data) or ""):
            header_check(data)
        with _open(data, levels) as image:
            return _decoded(image, data, levels)


@contextmanager
def told_as_reasons() -> Iterator[None]:
    """Turn whatever a decoder raises into an `ImageError`: Pillow's raise nearly anything on damaged input."""
    try:
        yield
    except PIL.UnidentifiedImageError:
        raise IncompleteError("is not a JPEG, PNG, BMP, TIFF or WebP image, or is damaged at its start") from None
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise ImageError(f"has more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except MemoryError:
        raise ImageError("needs more memory than there is") from None
    except ImageError:
        raise
    except Exception as error:
        raise IncompleteError(f"{DAMAGED}{str(error) or type(error).__name__}") from None


def read_image(path: bytes | str | Path) -> tuple[Image, str]:
    """Read and decode one image file of which nothing is in doubt.

    Returns:
        RGB pixels, uint8, (H, W, 3), and the SHA-256 of the file.

    Raises:
        ImageError: With the reason, for a person to read.
    """
    raw = read_file(path)
    decoded = decode(raw.data, os.path.splitext(os.fsdecode(path))[1])
    if decoded.doubt:
        raise ImageError(f"cannot be trusted: {decoded.doubt}: export it again")
    return decoded.pixels, raw.sha256


@contextmanager
def one_large_image_at_a_time(data: bytes) -> Iterator[None]:
    """Lock out other large images while one is decoded and used, so that the memory for one is enough."""
    try:
        large = _pixels(data) > LARGE_PIXELS
    except Exception:
        large = False  # `decode` reports what is wrong with it
    with _LARGE if large else nullcontext():
        yield


def _pixels(data: bytes) -> int:
    if format_of(data) == "TIFF":
        return largest(data)
    with _open_by_pillow(data) as image:
        return image.width * image.height


def _open(data: bytes, levels: Levels) -> PIL.Image.Image:
    """Open an image, and check what it is."""
    if format_of(data) == "TIFF":
        image = open_tiff(data, MAX_PIXELS, levels)
    else:
        image = _open_by_pillow(data)
        _check(image, data)
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16"):
        raise ImageError(f"has {image.mode} colours: export it as RGB")
    return image


def _open_by_pillow(data: bytes) -> PIL.ImageFile.ImageFile:
    readable = without_texts(data) if format_of(data) == "PNG" else data
    return PIL.Image.open(io.BytesIO(readable), formats=FORMATS)


def _check(image: PIL.ImageFile.ImageFile, data: bytes) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"has {image.width}x{image.height} pixels: more than {MAX_PIXELS // 1_000_000} megapixels")
    if (pictures := getattr(image, "n_frames", 1)) != 1:
        raise ImageError(_pages(image, pictures))
    if whole_check := WHOLE_CHECKS.get(image.format or ""):
        whole_check(image, data)


def _pages(image: PIL.Image.Image, count: int) -> str:
    """Say what the pictures of a file are to each other."""
    size = image.size
    image.seek(1)
    if image.size != size:
        return f"holds {count} pictures of different sizes, like an image with previews: export the full size alone"
    return f"holds {count} pictures: save each cell as a file of its own"


def _is_deep_png(image: PIL.Image.Image, data: bytes) -> bool:
    """Whether it is a PNG of 16 bits: Pillow reads one that is RGB as mode RGB and silently drops the low byte."""
    return image.format == "PNG" and data[24] == 16


def _decoded(image: PIL.Image.Image, data: bytes, levels: Levels) -> Decoded:
    profile, grey = profile_of(image, data), image.mode in ("1", "L", "LA", "I;16")
    transform, doubt = transform_to_srgb(profile, grey) if profile is not None else (None, "")
    deep_png = _is_deep_png(image, data)
    if image.format == "JPEG":
        pixels = decode_jpeg(data)
        pixels = pixels if transform is None else to_rgb(PIL.Image.fromarray(pixels), transform)
    elif deep_png:
        pixels = to_rgb(decode_deep_png(image, data, levels), transform)
    else:
        image.load()
        mend_color_map(image)
        pixels = to_rgb(image, transform)
    return Decoded(np.ascontiguousarray(_upright(image)(pixels)), doubt, deep_png or image.info.get(DEEP, False))


def _upright(image: PIL.Image.Image) -> Callable[[Image], Image]:
    try:
        return UPRIGHT.get(image.getexif().get(ORIENTATION, 1), UPRIGHT[1])
    except Exception:  # EXIF data that cannot be read turn nothing; Pillow raises nearly anything
        return UPRIGHT[1]
