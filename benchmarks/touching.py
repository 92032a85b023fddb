"""Pairs of cells that touch, made of single-cell crops: how many the finder cuts apart, flags, or takes for one."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from mosaic import HOME_DIAMETER, Mosaic, Random

from cartcls.runtime.fields.bodies import body, cytoplasm
from cartcls.runtime.fields.find import find
from cartcls.runtime.fields.nuclei import nuclei, purple
from cartcls.runtime.fields.stain import background, stain_of
from cartcls.runtime.images.resize import Image

SIDE = 700  # pixels of a field with one pair
OVERLAPS = (0, 60, 200)  # pixels that two cells share, in turn
THROUGH = 0.3  # of the lower cell's light, that is seen through the upper one
STEP = 3  # pixels by which a cell is moved away, until it shares no more

Mask = npt.NDArray[np.uint8]


def section(crops: Sequence[Image], random: Random) -> list[str]:
    """A table of pairs of crops, one with the next."""
    numbers = zip(range(0, len(crops) - 1, 2), [*OVERLAPS] * len(crops), strict=False)
    made = [pair(crops[i], crops[i + 1], overlap, random) for i, overlap in numbers]
    fields = [one for one in made if one]
    apart, flagged, one = 0, 0, 0
    for field in fields:
        cells = find(field.image, HOME_DIAMETER).cells
        near = [
            min((np.hypot(c.middle[0] - x, c.middle[1] - y), i) for i, c in enumerate(cells)) for x, y in field.middles
        ]
        if near[0][1] != near[1][1] and max(near)[0] < HOME_DIAMETER:
            apart += 1
        elif any(cells[i].joined for _, i in near):
            flagged += 1
        else:
            one += 1
    return [
        "",
        "## Cells that touch",
        "",
        f"Pairs of crops of `select`, with 0 to {OVERLAPS[-1]} pixels in common.",
        "",
        "| pairs | cut apart | taken for one, and flagged | taken for one |",
        "|---|---|---|---|",
        f"| {len(fields)} | {apart} | {flagged} | {one} |",
    ]


def pair(first: Image, second: Image, overlap: int, random: Random) -> Mosaic | None:
    """Put a second cell beside the first, in any direction; None where one of them is not alone in its crop."""
    masks = [_central(crop) for crop in (first, second)]
    if masks[0] is None or masks[1] is None:
        return None
    empty = np.array(background(first))
    canvas = np.empty((SIDE, SIDE, 3))
    canvas[:] = empty
    below = np.zeros((SIDE, SIDE), np.uint8)
    at = (SIDE - first.shape[0]) // 2, (SIDE - first.shape[1]) // 2
    window = slice(at[0], at[0] + first.shape[0]), slice(at[1], at[1] + first.shape[1])
    canvas[window], below[window] = first, masks[0]
    x, y, width, height = cv2.boundingRect(masks[1])
    upper, shape = (
        second[y : y + height, x : x + width] * (empty / background(second)),
        masks[1][y : y + height, x : x + width],
    )
    left, top, wide, high = cv2.boundingRect(below)
    middle, angle = (left + wide / 2, top + high / 2), random.uniform(0, 2 * np.pi)
    for distance in range(0, SIDE, STEP):
        place = middle[0] + distance * np.cos(angle), middle[1] + distance * np.sin(angle)
        x, y = int(place[0] - width / 2), int(place[1] - height / 2)
        if min(x, y) < 0 or max(x + width, y + height) > SIDE:
            return None
        window = slice(y, y + height), slice(x, x + width)
        if np.count_nonzero(below[window] & shape) <= overlap:
            break
    shown = cv2.GaussianBlur(cv2.dilate(shape, np.ones((5, 5), np.uint8)).astype(np.float32), (0, 0), 2)[..., None]
    dark = np.minimum(upper, THROUGH * canvas[window] + (1 - THROUGH) * upper)
    canvas[window] += shown * (dark - canvas[window])
    return Mosaic(np.clip(canvas, 0, 255).astype(np.uint8), [middle, (x + width / 2, y + height / 2)])


def _central(crop: Image) -> Mask | None:
    """Pixels of the cell in a crop's middle, zeros and ones; None where the finder sees no such cell."""
    middle = crop.shape[1] / 2, crop.shape[0] / 2
    stain = stain_of(crop, HOME_DIAMETER, background(crop))
    found = purple(stain, HOME_DIAMETER)
    mask = np.zeros(crop.shape[:2], np.uint8)
    for nucleus in nuclei(found, HOME_DIAMETER):
        cell = body(nucleus, cytoplasm(stain, found, HOME_DIAMETER), found, HOME_DIAMETER)
        high, wide = cell.mask.shape
        if np.hypot(cell.x + wide / 2 - middle[0], cell.y + high / 2 - middle[1]) < HOME_DIAMETER / 2:
            mask[cell.window] |= cell.mask
    return mask if mask.any() else None
