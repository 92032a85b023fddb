"""From a path to pixels: regular files only, read once, hashed, and decoded strictly.

OpenCV returns an image for nearly every truncated JPEG, so Pillow decodes; and since Pillow takes a file
that was pre-allocated with zeros for a complete one, the end marker is checked too.
"""

import errno
import hashlib
import io
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from ..errors import ImageError, IncompleteError
from .resize import Image

MAX_PIXELS = 50_000_000
MAX_BYTES = 64 * 1024 * 1024
LARGE_PIXELS = 4_000_000
ROWS_AT_A_TIME = 256
FORMATS = ("JPEG", "PNG", "BMP", "TIFF")
JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)  # markers of segments and of the end
VENDOR_FORMATS = {".czi": "Zeiss CZI", ".nd2": "Nikon ND2", ".lif": "Leica LIF"}

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
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise ImageError("is not a regular file")
        if before.st_size > limit:
            raise ImageError(f"is larger than {limit >> 20} MB")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read()
        after = os.fstat(descriptor)
    except OSError as error:
        raise IncompleteError(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if _fingerprint(before) != _fingerprint(after):
        raise IncompleteError("was still being written")
    if not data:
        raise IncompleteError("is empty (0 bytes)")
    return RawFile(data, hashlib.sha256(data).hexdigest(), _fingerprint(after))


def _fingerprint(status: os.stat_result) -> Fingerprint:
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def decode(data: bytes, suffix: str = "") -> Image:
    """Decode the bytes of one still image into upright RGB pixels.

    JPEG, PNG, BMP and TIFF with 8 bits per channel are read; EXIF rotation is applied; transparent pixels become
    white, like an empty field of the slide.

    Args:
        data: The whole file.
        suffix: The file name's suffix, only to name formats of microscope vendors.

    Returns:
        RGB, uint8, (H, W, 3).

    Raises:
        IncompleteError: The bytes are cut off or not an image: the file may still be being written.
        ImageError: The image is of an unsupported kind. Both messages give the reason, for a person to read.
    """
    if vendor := VENDOR_FORMATS.get(suffix.lower()):
        raise ImageError(f"is a {vendor} file: export the cells as TIFF")
    try:
        with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check(image, data)
            image.load()
            return _upright_rgb(image)
    except PIL.UnidentifiedImageError:
        raise IncompleteError("is not a JPEG, PNG, BMP or TIFF image, or is damaged at its start") from None
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise ImageError(f"has more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except MemoryError:
        raise ImageError("needs more memory than there is") from None
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged input
        raise IncompleteError(f"is damaged or cut off: {str(error) or type(error).__name__}") from None


def read_image(path: bytes | str | Path) -> tuple[Image, str]:
    """Read and decode one image file.

    Returns:
        RGB pixels, uint8, (H, W, 3), and the SHA-256 of the file.

    Raises:
        ImageError: With the reason, for a person to read.
    """
    raw = read_file(path)
    return decode(raw.data, os.path.splitext(os.fsdecode(path))[1]), raw.sha256


@contextmanager
def one_large_image_at_a_time(data: bytes) -> Iterator[None]:
    """Lock out other large images while one is decoded and used, so that the memory for one is enough."""
    try:
        with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
            large = image.width * image.height > LARGE_PIXELS
    except Exception:
        large = False  # `decode` reports what is wrong with it
    with _LARGE if large else nullcontext():
        yield


def _check(image: PIL.Image.Image, data: bytes) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"has {image.width}x{image.height} pixels: more than {MAX_PIXELS // 1_000_000} megapixels")
    complete = {
        "JPEG": _has_end_of_image(data),
        "PNG": b"IEND\xaeB`\x82" in data,
    }
    if not complete.get(image.format or "", True):
        raise IncompleteError(f"is incomplete: the {image.format} end marker is missing")
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise ImageError(f"holds {frames} pictures: save each cell as a file of its own")
    if _bits_per_channel(image, data) > 8:
        raise ImageError("has more than 8 bits per channel, which is not supported yet: export it with 8 bits")
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise ImageError(f"has {image.mode} colours: export it as RGB")


def _has_end_of_image(data: bytes) -> bool:
    """Walk a JPEG's segments to its EOI marker: thumbnails inside it and bytes after it have markers of their own."""
    position = 2
    while marker := JPEG_MARKER.search(data, position):
        position = marker.end()
        if marker[0] == b"\xff\xd9":
            return True
        position += int.from_bytes(data[position : position + 2], "big")
    return False


def _bits_per_channel(image: PIL.Image.Image, data: bytes) -> int:
    # Pillow reads 16-bit RGB as mode RGB and silently drops the low byte.
    if image.format == "PNG":
        return data[24]
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (1,))
        return max(bits) if isinstance(bits, tuple) else int(bits)
    return 16 if image.mode.startswith(("I", "F")) else 8


def _upright_rgb(image: PIL.Image.Image) -> Image:
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, ROWS_AT_A_TIME):  # in strips: whole copies of a large image need too much memory
        bottom = min(top + ROWS_AT_A_TIME, image.height)
        pixels[top:bottom] = np.asarray(_rgb(image.crop((0, top, image.width, bottom))))
    return np.ascontiguousarray(UPRIGHT.get(image.getexif().get(ORIENTATION, 1), UPRIGHT[1])(pixels))


def _rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, "white"), rgba)
    return image if image.mode == "RGB" else image.convert("RGB")
