"""One image, read for classification: its pixels at the sizes that are needed, or why there are none."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ImageError, IncompleteError
from .adjust import Adjustment, adjust
from .decode import Decoded, Fingerprint, RawFile, decode, fingerprint, one_large_image_at_a_time, read_file
from .levels import FULL_RANGE, Levels
from .quality import Quality, measure
from .resize import Image, stretch
from .thumbnail import shrink

Source = Image | bytes | str | Path


@dataclass(frozen=True, eq=False)
class Reading:
    """One image, read: what the model, its checks and a thumbnail need, or why there is nothing.

    Attributes:
        fingerprint: Of the file that was read or found; None where there is none.
        error: Why it cannot be classified; empty otherwise.
        incomplete: Whether it may be complete later.
        sha256: Digest of the file; None of pixels.
        width: Width in pixels.
        height: Height in pixels.
        image: As the model takes it: at the size of the graph's input, adjusted where its bundle says so, RGB, uint8,
            (H, W, 3); None once it is classified.
        small: At the size of a thumbnail, RGB, uint8; never adjusted.
        quality: Its quality measurements; never of the adjusted picture.
        doubt: Why its colours may be wrong; empty where nothing is known to be.
        deep: Whether its file has more than 8 bits per channel, so that the levels made its pixels.
        empty: Whether it is a field with no cell; then the error says so.
    """

    fingerprint: Fingerprint | None = None
    error: str = ""
    incomplete: bool = False
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    image: Image | None = None
    small: Image | None = None
    quality: Quality | None = None
    doubt: str = ""
    deep: bool = False
    empty: bool = False


def read_cell(
    source: Source,
    width: int,
    height: int,
    adjustment: Adjustment | None = None,
    levels: Levels = FULL_RANGE,
) -> Reading:
    """Read one image of one cell; what is wrong with it is in the reading, not raised.

    Args:
        source: Path of a file, or its pixels: RGB, uint8, (H, W, 3).
        width: Width of the graph's input in pixels.
        height: Height of the graph's input in pixels.
        adjustment: How the picture is changed for the model.
        levels: Values of 16 bits that are black and white.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            return Reading(error=f"is {source.dtype} {source.shape}: pixels are RGB, uint8, (height, width, 3)")
        return _prepared(lambda: Decoded(source), width, height, adjustment)
    path = os.fsencode(source)
    suffix = os.path.splitext(os.fsdecode(path))[1]
    return read_bytes(lambda: read_file(path), suffix, width, height, adjustment, levels, fingerprint(path))


def read_bytes(
    opened: Callable[[], RawFile],
    suffix: str,
    width: int,
    height: int,
    adjustment: Adjustment | None = None,
    levels: Levels = FULL_RANGE,
    found: Fingerprint | None = None,
) -> Reading:
    """Read one image of one cell from wherever its bytes are; see `read_cell`.

    Args:
        opened: Gives the bytes; an `ImageError` says why there are none.
        suffix: Of the file's name.
        width: Width of the graph's input in pixels.
        height: Height of the graph's input in pixels.
        adjustment: How the picture is changed for the model.
        levels: Values of 16 bits that are black and white.
        found: Fingerprint of the file before it was opened.
    """
    sha256 = None
    try:
        raw = opened()
        found, sha256 = raw.fingerprint, raw.sha256
        with one_large_image_at_a_time(raw.data):
            return _prepared(lambda: decode(raw.data, suffix, levels), width, height, adjustment, found, sha256)
    except ImageError as error:
        return Reading(found, str(error), isinstance(error, IncompleteError), sha256)


def _prepared(
    pixels: Callable[[], Decoded],
    width: int,
    height: int,
    adjustment: Adjustment | None,
    found: Fingerprint | None = None,
    sha256: str | None = None,
) -> Reading:
    original, doubt, deep = pixels()
    image, small, size = stretch(original, width, height), shrink(original), (original.shape[1], original.shape[0])
    del original  # frees a large one before its quality is measured
    quality = measure(image, *size)
    image = adjust(image, adjustment) if adjustment else image
    return Reading(found, "", False, sha256, *size, image, small, quality, doubt, deep)
