"""Original pictures of cells, as their files are now, where these still are what was classified."""

import os

import cv2

from ..errors import ImageError
from ..images.decode import decode, read_file
from ..ledger.slide_ledger import SlideLedger

MARGIN = 0.5  # of a cell's box in its field, on each side


def original(slide: SlideLedger, seq: int) -> bytes:
    """The picture of a cell at full size, decoded and written anew as PNG; of a field, the part around the cell.

    Args:
        slide: The slide; the file's place is taken from its ledger alone.
        seq: Number of the cell.

    Raises:
        ImageError: There is no such cell, or its file is missing, a link, or not what was classified.
    """
    found = slide.place_of(seq)
    if found is None:
        raise ImageError("there is no such cell")
    cell, path = found
    raw = read_file(os.path.join(slide.slide.source, path))
    if raw.sha256 != cell.sha256:
        raise ImageError("has changed since it was classified")
    pixels = decode(raw.data, os.path.splitext(os.fsdecode(path))[1], slide.facts().levels).pixels
    if cell.box:
        x, y, w, h = cell.box
        across, down = round(MARGIN * w), round(MARGIN * h)
        pixels = pixels[max(0, y - down) : y + h + down, max(0, x - across) : x + w + across]
    return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
