"""Which of the pictures in a TIFF file is meant: the one of full size, or the sharpest plane of one."""

import io
import re
from typing import BinaryIO

import cv2
import numpy as np
import PIL.Image

from ..errors import ImageError
from . import tiff_tags as tag
from .levels import FULL_RANGE, Levels
from .ome import Plane, is_ome, ome_microns_per_pixel, ome_planes
from .tiff import check_tags, check_written, mend_color_map
from .tiff_draw import draw
from .tiff_tags import MANY, Tags, read_directories

DEEP = "deep"  # among what a picture tells of itself: whether its file has more than 8 bits per channel
IMAGEJ = "ImageJ="
IMAGEJ_PICTURES = re.compile(r"^images=(\d{1,9})$", re.MULTILINE)
IMAGEJ_UNIT = re.compile(r"^unit=(?:micron|um|[µμ]m|\\u00B5m)$", re.MULTILINE)
INCH, CENTIMETRE = 25_400.0, 10_000.0  # µm
PLANES_TOGETHER = 3  # times the pixels of one picture: the three channels of one, or planes in focus, which take time
BELIEVED = 0.02, 1.0  # µm per pixel: what lies beyond was never set, or is for printing


def open_tiff(data: bytes, most: int, levels: Levels = FULL_RANGE) -> PIL.Image.Image:
    """Open the one picture of a TIFF file, or the sharpest of its planes, and check what it is and that all is there.

    Args:
        data: The whole file.
        most: How many pixels it may have.
        levels: Values of 16 bits that are black and white.

    Returns:
        The picture with 8 bits per channel, and `DEEP` in its `info` where the file has more; one that Pillow can
        decode is opened, but not loaded.

    Raises:
        IncompleteError: A part of it is missing or damaged.
        ImageError: It is of an unsupported kind, or holds several pictures.
    """
    pages = read_directories(io.BytesIO(data))
    planes = choose_planes(pages)
    for page in {number: pages[number] for plane in planes for number in plane}.values():
        if page.pixels > most:
            width, height = page.size
            raise ImageError(
                f"has {width}x{height} pixels: more than {most // 1_000_000} megapixels: export the part with the cells"
            )
        check_tags(page)
    if sum(pages[number].pixels for plane in planes for number in plane) > PLANES_TOGETHER * most:
        together = PLANES_TOGETHER * most // 1_000_000
        raise ImageError(
            f"holds {len(planes)} planes, together more than {together} megapixels: export the sharpest one"
        )
    if len(planes) == 1:
        return _open_plane(planes[0], pages, data, levels)
    best, sharpest = -1.0, None
    for plane in planes:
        image = _open_plane(plane, pages, data, levels)
        if (sharpness := _sharpness(image)) > best:
            best, sharpest = sharpness, image
    assert sharpest is not None
    return sharpest


def largest(data: bytes) -> int:
    """How many pixels the largest picture of a TIFF file has.

    Raises:
        IncompleteError: It is damaged.
    """
    return max(page.pixels for page in read_directories(io.BytesIO(data)))


def full_size(file: BinaryIO) -> Tags:
    """What a TIFF file says of its one picture, also of one that is too large to be read whole.

    Raises:
        IncompleteError: It is damaged.
        ImageError: It is of an unsupported kind, or holds several pictures.
    """
    pages = read_directories(file)
    (first, *more), *planes = choose_planes(pages)
    if more or planes:
        raise ImageError("holds several planes of one picture: export one RGB picture")
    check_tags(pages[first])
    return pages[first]


def choose_planes(pages: list[Tags]) -> list[Plane]:
    """Find the planes of the one picture in a file: one, but for an OME-TIFF with several, by focus.

    Raises:
        IncompleteError: A plane is missing.
        ImageError: There are several pictures.
    """
    first = pages[0]
    if is_ome(first.description):
        return ome_planes(first.description, len(pages))
    whole = [number for number, page in enumerate(pages) if not page.is_preview]
    if first.description.startswith("Aperio"):  # whose smaller copies are not marked as such
        whole = [number for number in whole if pages[number].pixels >= first.pixels]
    if len(whole) > 1:
        raise ImageError(_several([pages[number] for number in whole], len(pages) == MANY))
    stack = IMAGEJ_PICTURES.search(first.description) if first.description.startswith(IMAGEJ) else None
    if stack and int(stack[1]) > 1:  # of which it may say only where the first one is
        raise ImageError(f"holds {int(stack[1])} pictures, as ImageJ writes them: export one of them")
    return [(whole[0] if whole else 0,)]


def microns_per_pixel(file: BinaryIO) -> float | None:
    """Width of a pixel of the one picture in a TIFF file, in µm, as the file says.

    Returns:
        None where it does not say so, or where no microscope's camera has such pixels.

    Raises:
        IncompleteError: The file is damaged.
        ImageError: It is of an unsupported kind, or holds several pictures.
    """
    pages = read_directories(file)
    planes, first = choose_planes(pages), pages[0]
    found = ome_microns_per_pixel(first.description) if is_ome(first.description) else None
    found = found if found is not None else _by_resolution(pages[planes[0][0]])
    return found if found is not None and BELIEVED[0] <= found <= BELIEVED[1] else None


def _by_resolution(page: Tags) -> float | None:
    sides = page.all(tag.X_RESOLUTION), page.all(tag.Y_RESOLUTION)
    units = {2: INCH, 3: CENTIMETRE} | ({1: 1.0} if IMAGEJ_UNIT.search(page.description) else {})
    unit = units.get(page.one(tag.RESOLUTION_UNIT, 2))
    if unit is None or any(len(side) != 2 or not all(side) for side in sides) or sides[0] != sides[1]:
        return None
    (pixels, length), _ = sides
    return unit * length / pixels


def _several(pages: list[Tags], more: bool) -> str:
    """Say what the pictures of a file are to each other."""
    number = f"{MANY} or more" if more else str(len(pages))
    if len({page.size for page in pages}) > 1:
        return f"holds {number} pictures of different sizes, like an image with previews: export the full size alone"
    if len(pages) in (3, 4) and all(page.one(tag.PHOTOMETRIC, -1) == 1 for page in pages):
        return f"holds {number} grey pictures, like the channels of one: export it as one RGB picture"
    return f"holds {number} pictures: save each cell as a file of its own"


def _open_plane(plane: Plane, pages: list[Tags], data: bytes, levels: Levels) -> PIL.Image.Image:
    for number in plane:
        check_written(pages[number], data)
    if len(plane) == 1:
        return _open_page(plane[0], pages[plane[0]], data, levels)
    images = [_open_page(number, pages[number], data, levels) for number in plane]
    if len({image.size for image in images}) > 1 or any(image.mode != "L" for image in images):
        raise ImageError("holds channels that are not grey pictures of one size: export it as one RGB picture")
    merged = PIL.Image.merge("RGB", images)
    merged.info = dict(images[0].info)
    merged.getexif()[tag.ORIENTATION] = images[0].getexif().get(tag.ORIENTATION, 1)
    merged.info[DEEP] = any(image.info.get(DEEP, False) for image in images)
    return merged


def _open_page(number: int, page: Tags, data: bytes, levels: Levels) -> PIL.Image.Image:
    if page.bits <= 8 and not (page.big and page.order == ">"):
        image = PIL.Image.open(io.BytesIO(data), formats=("TIFF",))
        image.seek(number)
        return image
    image, brightest = draw(io.BytesIO(data), page, levels)
    levels.check_used(brightest)
    image.info[DEEP] = page.bits > 8
    if tag.PROFILE in page:
        image.info["icc_profile"] = page.raw(tag.PROFILE)
    image.getexif()[tag.ORIENTATION] = page.one(tag.ORIENTATION, 1)
    return image


def _sharpness(image: PIL.Image.Image) -> float:
    """How much fine detail there is: at half the size, because the finest is noise."""
    image.load()
    mend_color_map(image)
    grey = np.asarray(image.convert("RGB").getchannel("G"))
    half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) if min(grey.shape) > 8 else grey
    return float(cv2.Laplacian(half, cv2.CV_32F).var())
