"""From a nucleus to its cell: the cytoplasm around it, and how its outline looks."""

import cv2
import numpy as np

from .nuclei import Mask, Part, disk, red_cell_area, trimmed
from .stain import Stain

WEAK = 0.15  # of the way from red cells to nuclei: purple of cytoplasm
THIN = 0.10  # radius in diameters of a red cell: thinner cytoplasm is taken away
REACH = 0.55  # diameters that cytoplasm reaches around its nucleus
SMUDGE = 4.25  # area of a red cell's: smaller nuclei are taken for whole
CLUMP = 12.0  # area of a red cell's: what is larger and could not be cut apart is debris, or a clump of many
FILLED = 0.25  # radius: narrower bays in an outline are filled before it is judged
RAGGED = 1.3  # length of an outline, of a circle's with the same area
SOFT = 0.12  # of the density within: the steepest change at the outline, per pixel


def cytoplasm(stain: Stain, nuclei: Mask, diameter: float) -> Mask:
    """Pixels of cytoplasm, nuclei and what is as purple, zeros and ones, (H, W).

    Args:
        stain: Stain of the field.
        nuclei: Purple pixels, zeros and ones, (H, W).
        diameter: Of a red cell in pixels.
    """
    limit = stain.red_cells + WEAK * (stain.nucleus - stain.red_cells)
    found = (stain.purple > limit).view(np.uint8) | nuclei
    return np.asarray(cv2.morphologyEx(found, cv2.MORPH_OPEN, disk(THIN * diameter)), np.uint8)


def body(nucleus: Part, weak: Mask, nuclei: Mask, diameter: float) -> Part:
    """A cell: its nucleus, and the cytoplasm that hangs together with it.

    Args:
        nucleus: The nucleus.
        weak: Cytoplasm and nuclei of the field, zeros and ones, (H, W).
        nuclei: Purple pixels of the field, zeros and ones, (H, W): those of others are left out.
        diameter: Of a red cell in pixels.
    """
    reach = round(REACH * diameter)
    y, x = max(0, nucleus.y - reach), max(0, nucleus.x - reach)
    rows, columns = (slice(start, side.stop + reach) for start, side in zip((y, x), nucleus.window, strict=True))
    own = np.zeros_like(weak[rows, columns])
    own[Part(nucleus.x - x, nucleus.y - y, nucleus.mask).window] = nucleus.mask
    free = (weak[rows, columns] & ~nuclei[rows, columns]) | own
    near = np.asarray(cv2.dilate(own, disk(reach)), np.uint8) & free
    labels = np.asarray(cv2.connectedComponents(near)[1], np.intp)
    kept = np.zeros(int(labels.max()) + 1, np.uint8)
    kept[labels[own > 0]] = 1
    return trimmed(Part(x, y, kept[labels]))


def is_smudge(nucleus: Part, body: Part, stain: Stain, diameter: float) -> bool:
    """Whether a cell is smashed: a very large nucleus, in an outline that is ragged and fades away; or no cell at all.

    Args:
        nucleus: Its nucleus.
        body: Nucleus and cytoplasm.
        stain: Stain of the field.
        diameter: Of a red cell in pixels.
    """
    area = np.count_nonzero(nucleus.mask) / red_cell_area(diameter)
    if not SMUDGE < area < CLUMP:
        return bool(area >= CLUMP)
    kernel = disk(FILLED * diameter)
    around = len(kernel)
    outline = np.asarray(cv2.morphologyEx(np.pad(body.mask, around), cv2.MORPH_CLOSE, kernel), np.uint8)
    rims, _ = cv2.findContours(outline, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rim = max(rims, key=cv2.contourArea)
    ragged = cv2.arcLength(rim, True) / np.sqrt(4 * np.pi * max(1.0, cv2.contourArea(rim)))
    return bool(ragged > RAGGED) and _sharpness(outline, around, body, stain) < SOFT


def _sharpness(outline: Mask, around: int, body: Part, stain: Stain) -> float:
    """How steep the density is at an outline, per pixel, as a share of the density within."""
    top, left = body.y - around, body.x - around
    y, x = np.nonzero(cv2.dilate(outline, np.ones((3, 3), np.uint8)) - outline)
    height, width = stain.density.shape
    in_field = (y + top > 1) & (x + left > 1) & (y + top < height - 2) & (x + left < width - 2)
    if not in_field.any():
        return float("inf")
    rows, columns = slice(max(0, top), top + outline.shape[0]), slice(max(0, left), left + outline.shape[1])
    density = np.ascontiguousarray(stain.density[rows, columns])
    steepness = cv2.magnitude(cv2.Sobel(density, cv2.CV_32F, 1, 0), cv2.Sobel(density, cv2.CV_32F, 0, 1)) / 8
    steepest = cv2.dilate(steepness, np.ones((3, 3), np.uint8))
    at = y[in_field] + min(0, top), x[in_field] + min(0, left)
    within = float(np.median(stain.density[body.window][body.mask > 0]))
    return float(np.median(steepest[at])) / max(1e-6, within)
