"""A picture of any size, of which parts are used: decoded whole where it is small enough, else by its tiles."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .decode import MAX_PIXELS, Fingerprint, decode, one_large_image_at_a_time, open_file, read_file
from .levels import FULL_RANGE, Levels
from .resize import Image
from .tiff_draw import Box
from .tiff_large import MAX_LARGE_BYTES, LargeTiff, large_page


class Picture(Protocol):
    """A picture of any size."""

    @property
    def width(self) -> int:
        """In pixels."""
        ...

    @property
    def height(self) -> int:
        """In pixels."""
        ...

    @property
    def sha256(self) -> str | None:
        """Digest of its file; None of pixels."""
        ...

    @property
    def fingerprint(self) -> Fingerprint | None:
        """Of its file, when it was read or opened; None likewise."""
        ...

    @property
    def doubt(self) -> str:
        """Why its colours may be wrong; empty where nothing is known to be."""
        ...

    @property
    def deep(self) -> bool:
        """Whether its file has more than 8 bits per channel, so that the levels made its pixels."""
        ...

    def region(self, x: int, y: int, width: int, height: int) -> Image:
        """Pixels of a part: RGB, uint8, (height, width, 3).

        Raises:
            ImageError: It cannot be read.
            ValueError: It does not lie in the picture.
        """
        ...


@dataclass(frozen=True, eq=False)
class WholePicture:
    """A picture that was decoded whole.

    Attributes:
        image: RGB, uint8, (H, W, 3).
        sha256: Digest of its file; None of pixels.
        fingerprint: Of its file, when it was read; None likewise.
        doubt: Why its colours may be wrong; empty where nothing is known to be.
        deep: Whether its file has more than 8 bits per channel, so that the levels made its pixels.
    """

    image: Image
    sha256: str | None
    fingerprint: Fingerprint | None
    doubt: str = ""
    deep: bool = False

    @property
    def width(self) -> int:
        """In pixels."""
        return self.image.shape[1]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.image.shape[0]

    def region(self, x: int, y: int, width: int, height: int) -> Image:
        """Pixels of a part: RGB, uint8, (height, width, 3); not a copy.

        Raises:
            ValueError: It does not lie in the picture.
        """
        Box(x, y, width, height).check_inside(self.width, self.height)
        return self.image[y : y + height, x : x + width]


@contextmanager
def open_picture(path: bytes | str | Path, levels: Levels = FULL_RANGE, whole: int = MAX_PIXELS) -> Iterator[Picture]:
    """Open the picture of an image file, of up to 50 megapixels and 64 MB.

    A TIFF whose strips or tiles are small may have up to 400 megapixels and 1 GB: the parts that are used are read
    from the file, which stays open.

    Args:
        path: Of the file.
        levels: Values of 16 bits that are black and white.
        whole: How many pixels are decoded whole.

    Raises:
        IncompleteError: The file is missing, damaged, or changes while it is open.
        ImageError: The image is of an unsupported kind. Both messages give the reason, for a person to read.
    """
    with open_file(path, MAX_LARGE_BYTES) as (file, found):
        if (page := large_page(file, whole)) is not None:
            yield LargeTiff(file, found, page, levels)
            return
    raw = read_file(path)
    with one_large_image_at_a_time(raw.data):
        decoded = decode(raw.data, os.path.splitext(os.fsdecode(path))[1], levels)
    digest, found = raw.sha256, raw.fingerprint
    del raw
    yield WholePicture(decoded.pixels, digest, found, decoded.doubt, decoded.deep)
