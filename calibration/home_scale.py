"""How large red cells are in the crops that a model is for: cells of whole fields are cut out at that magnification."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from msgspec import UNSET, structs

from ..runtime.bundle.bundle import Bundle
from ..runtime.bundle.manifest import HomeScale
from ..runtime.errors import ImageError
from ..runtime.fields.nuclei import purple, red_cell_area
from ..runtime.fields.scale import LARGEST, mpp_of, red_cell_diameter
from ..runtime.fields.slide_scale import UNLIKE
from ..runtime.fields.stain import STAINED, background, stain_of
from ..runtime.images.decode import read_image
from ..runtime.images.resize import Image

MOST = 300  # crops that are looked at, from all over
FEWEST = 20  # crops that show red cells, before they tell their size
APART = 0.5  # area of a red cell's, that is stained and apart from all nuclei where red cells are seen
END = 0.97  # of the largest diameter that is tried: red cells that seem as large may be larger
UNSEEN = "too few crops show red cells to tell their size"

Notify = Callable[[str], None]


@dataclass(frozen=True)
class _Crops:
    """Crops that were looked at: median width and height of all, and red cells of those of about that size."""

    width: int
    height: int
    diameters: list[float]


def measure_home_scale(files: Sequence[Path]) -> HomeScale | None:
    """How large red cells are in crops; None where too few show them, or they differ.

    Args:
        files: The crops. Those that cannot be read are left out.
    """
    return _measured(_look(files))


def with_home_scale(bundle: Bundle, files: Sequence[Path], notify: Notify) -> Bundle:
    """A bundle that says how large red cells are in the crops that it is calibrated on.

    Args:
        bundle: What is to be calibrated. Where the crops do not tell, what it says already stays: its weights are the
            same.
        files: The crops, all readable.
        notify: Called with a line where they do not tell.
    """
    if found := measure_home_scale(files):
        return _saying(bundle, found)
    notify(f"{UNSEEN}: what {bundle.directory} says of it stays")
    return bundle


def with_own_home_scale(bundle: Bundle, files: Sequence[Path], scaled: bool, notify: Notify) -> Bundle:
    """A bundle that says how large red cells are in a laboratory's own crops, for which its head is made.

    Where the crops do not tell, what the bundle says of home holds only if nuclei were compared with home's: their
    ratio is that of the red cells too. Else nothing is said.

    Args:
        bundle: What is adapted, with the adjustment of the pictures.
        files: The laboratory's crops, all readable.
        scaled: Whether the adjustment's scale was measured on nuclei (`--scale`).
        notify: Called with a line where they do not tell.
    """
    crops, home = _look(files), bundle.home_scale
    if found := _measured(crops):
        return _saying(bundle, found)
    if not (scaled and home and bundle.adjustment):
        notify(f"{UNSEEN}: this bundle cannot classify whole fields")
        return _saying(bundle, None)
    notify(f"{UNSEEN}: taken from that of the nuclei")
    size = (crops.width * crops.height / (home.crop_width * home.crop_height)) ** 0.5
    return _saying(bundle, _home_scale(home.red_cell_px * size / bundle.adjustment.scale, crops, 0))


def _saying(bundle: Bundle, found: HomeScale | None) -> Bundle:
    return replace(bundle, manifest=structs.replace(bundle.manifest, home_scale=found or UNSET))


def _look(files: Sequence[Path]) -> _Crops:
    """Measure red cells in crops from all over."""
    sizes, found = [], []
    for place in np.linspace(0, len(files) - 1, min(len(files), MOST)).astype(int):
        try:
            image, _ = read_image(files[place])
        except ImageError:
            continue
        sizes.append((image.shape[1], image.shape[0]))
        diameter = red_cell_diameter(image)
        found.append(diameter if diameter and _shows_red_cells(image, diameter) else None)
    width, height = (round(side) for side in np.median(sizes or [(1, 1)], axis=0).tolist())
    usual = [max(w / width, width / w, h / height, height / h) <= UNLIKE for w, h in sizes]
    return _Crops(width, height, [one for one, is_usual in zip(found, usual, strict=True) if one and is_usual])


def _shows_red_cells(image: Image, diameter: float) -> bool:
    """Whether something is stained apart from all nuclei: a white cell alone may look like a circle too."""
    stain = stain_of(image, diameter, background(image))
    _, labels, sizes, _ = cv2.connectedComponentsWithStats((stain.density > STAINED).astype(np.uint8))
    apart = np.setdiff1d(np.arange(1, len(sizes)), labels[purple(stain, diameter) > 0])
    return bool(sizes[apart, cv2.CC_STAT_AREA].sum() >= APART * red_cell_area(diameter))


def _measured(crops: _Crops) -> HomeScale | None:
    """Median size of the red cells; None where few are seen, the middle half differs, or they may be larger."""
    if len(crops.diameters) < FEWEST:
        return None
    low, middle, high = np.percentile(crops.diameters, [25, 50, 75]).tolist()
    if max(middle / low, high / middle) > UNLIKE or high > END * LARGEST * max(crops.width, crops.height):
        return None
    return _home_scale(middle, crops, len(crops.diameters))


def _home_scale(diameter: float, crops: _Crops, cells: int) -> HomeScale:
    return HomeScale(diameter, crops.width, crops.height, mpp_of(diameter), cells)
