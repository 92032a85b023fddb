"""OME-TIFF: which pictures of a file are the planes of one, as its OME-XML says."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from ..errors import ImageError, IncompleteError
from .tiff_tags import MANY

LONGEST = 2 << 20  # characters: the tree of it needs many times as much memory
BESIDE = re.compile(r"label|macro|overview|thumbnail", re.IGNORECASE)  # pictures of a whole slide beside it
COLORS = {"red": -16776961, "green": 16711935, "blue": 65535}  # as OME writes them: red, green, blue, alpha
UNITS = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "Å": 1e-4}

Plane = tuple[int, ...]
"""Numbers of the pictures of one plane: of its one grey or RGB picture, or of its red, green and blue ones."""


def is_ome(description: str) -> bool:
    """Whether the description of a file's first picture is OME-XML."""
    return "<OME" in description and description.rstrip().endswith("OME>")


def ome_planes(description: str, count: int) -> list[Plane]:
    """Planes of the one picture of an OME-TIFF, by focus.

    Args:
        description: OME-XML of its first picture.
        count: How many pictures it holds.

    Raises:
        IncompleteError: Some of them are missing.
        ImageError: They are more than one picture, at several places or times, or of several channels.
    """
    root = _parse(description)
    pixels = _pixels(root)
    if (times := _number_of(pixels, "SizeT", 1)) > 1:
        raise ImageError(f"holds {times} times: export one of them as a file of its own")
    channels = _channels(pixels)
    sizes = {"Z": _number_of(pixels, "SizeZ", 1), "C": len(channels), "T": 1}
    order = pixels.get("DimensionOrder", "XYCZT")[2:]
    if not (total := sizes["Z"] * sizes["C"]) or sorted(order) != ["C", "T", "Z"]:
        raise ImageError("says nothing of its planes: export it again")
    if total > MANY:
        raise ImageError(f"holds {total} planes, more than {MANY}: export the sharpest one")
    found = _pictures(pixels, root, sizes, order, total)
    missing = [number for number in range(total) if not 0 <= found.get(number, -1) < count]
    if missing and any(_is_elsewhere(data, root) for data in _named(pixels, "TiffData")):
        raise ImageError("lies in several files: export it as one OME-TIFF")
    if missing:
        raise IncompleteError(f"is incomplete: {len(missing)} of its {total} planes are missing")
    return [
        tuple(found[_number({"Z": z, "C": channel}, sizes, order)] for channel in channels) for z in range(sizes["Z"])
    ]


def ome_microns_per_pixel(description: str) -> float | None:
    """Width of a pixel in µm, as OME-XML says; None where it does not."""
    pixels = _pixels(_parse(description))
    size, unit = pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm")
    try:
        return float(size) * UNITS[unit] if size is not None and unit in UNITS else None
    except ValueError:
        return None


def _parse(description: str) -> ElementTree.Element:
    if len(description) > LONGEST:
        raise ImageError(f"has OME-XML of more than {LONGEST >> 20} MB: export the picture alone")
    if "<!DOCTYPE" in description:  # without it there are no entities, which may grow, or name other files
        raise ImageError("has OME-XML with declarations, which are not read: export it again")
    try:
        return ElementTree.fromstring(description)
    except ElementTree.ParseError as error:
        raise IncompleteError(f"is damaged or cut off: its OME-XML: {error}") from None


def _pixels(root: ElementTree.Element) -> ElementTree.Element:
    """What it says of its one picture."""
    images = list(_named(root, "Image"))
    if not images:
        raise ImageError("is described by another file: export it as one OME-TIFF")
    whole = [image for image in images if not BESIDE.search(image.get("Name", ""))] or images
    if len(whole) > 1:
        raise ImageError(f"holds {len(whole)} images or positions: export each as a file of its own")
    pixels = next(_named(whole[0], "Pixels"), None)
    if pixels is None:
        raise ImageError("says nothing of its pixels: export it again")
    return pixels


def _channels(pixels: ElementTree.Element) -> list[int]:
    """Numbers of the channels that are pictures of their own: of one, or of red, green and blue.

    Raises:
        ImageError: They are others.
    """
    channels = list(_named(pixels, "Channel"))
    if len(channels) <= 1 and _number_of(pixels, "SizeC", 1) in (
        1,
        *(_number_of(c, "SamplesPerPixel", 1) for c in channels),
    ):
        return [0]
    colors = [_color(channel) for channel in channels]
    if sorted(colors) == ["blue", "green", "red"]:
        return [colors.index(color) for color in ("red", "green", "blue")]
    names = ", ".join(name for name in (channel.get("Name", "") for channel in channels) if name.isprintable() and name)
    number = max(len(channels), _number_of(pixels, "SizeC", 1))
    raise ImageError(
        f"holds {number} channels{f' ({names[:60]})' if names else ''} that are not said to be red, green and blue:"
        " export it as one RGB picture"
    )


def _color(channel: ElementTree.Element) -> str:
    name = channel.get("Name", "").strip().lower()
    by_name = next((color for color in COLORS if name in (color, color[0])), "")
    return by_name or next((color for color, number in COLORS.items() if channel.get("Color") == str(number)), "")


def _pictures(
    pixels: ElementTree.Element, root: ElementTree.Element, sizes: dict[str, int], order: str, total: int
) -> dict[int, int]:
    """Number in the file of the picture of each plane, by the plane's number in the XML's order."""
    found: dict[int, int] = {}
    entries = list(_named(pixels, "TiffData"))
    for data in entries:
        if _is_elsewhere(data, root):
            continue
        first = _number({axis: _number_of(data, f"First{axis}", 0) for axis in "ZCT"}, sizes, order)
        picture = _number_of(data, "IFD", 0)
        count = _number_of(data, "PlaneCount", 1 if "IFD" in data.attrib else total)
        found.update((first + step, picture + step) for step in range(max(0, min(count, total - first))))
    return found if entries else {number: number for number in range(total)}


def _number(places: dict[str, int], sizes: dict[str, int], order: str) -> int:
    """Number of a plane in the order of the axes, of which the first one counts fastest."""
    number, step = 0, 1
    for axis in order:
        number += places.get(axis, 0) * step
        step *= sizes[axis]
    return number


def _number_of(element: ElementTree.Element, name: str, default: int) -> int:
    """A whole number that the XML gives."""
    text = element.get(name, "").strip()
    if text and not (text.isdecimal() and len(text) < 10):
        raise ImageError(f"says {name}={text[:20]!r} in its OME-XML: export it again")
    return int(text or default)


def _is_elsewhere(data: ElementTree.Element, root: ElementTree.Element) -> bool:
    """Whether a plane lies in another file."""
    return any((uuid.text or "").strip() != root.get("UUID") for uuid in _named(data, "UUID"))


def _named(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Children of a name, in any version of OME's namespace."""
    return (child for child in element if child.tag.rpartition("}")[2] == name)
