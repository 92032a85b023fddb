"""Whole fields made of single-cell crops: each turned, on an empty slide, with red cells of theirs between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cartcls.runtime.fields.nuclei import red_cell_area
from cartcls.runtime.fields.stain import STAINED, background, stain_of
from cartcls.runtime.images.resize import Image

HOME_DIAMETER = 75.5  # of a red cell in the crops, in pixels: median of 1,050 crops of `fit`
PITCH = 430  # pixels from one crop's middle to the next one's
JITTER = 15  # pixels that a crop may lie beside its place
RADIUS = 168  # pixels of a crop's disc that are shown
FADE = 5.0  # sigma in pixels of a disc's rim
RED_CELLS = 6  # that are tried to be placed for each crop
AREAS = (0.6, 1.4)  # of a red cell's area: what is between is a red cell that lies alone

Random = np.random.Generator
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A made-up field: RGB, uint8, (H, W, 3), and x and y of each crop's middle in it."""

    image: Image
    middles: list[tuple[float, float]]


def mosaic(crops: Sequence[Image], columns: int, random: Random) -> Mosaic:
    """Make a field of crops that lie in rows.

    Args:
        crops: Crops of one cell each, 360×363 pixels or about that: RGB, uint8.
        columns: Crops in a row.
        random: Turns and shifts them.
    """
    empty = np.median([background(crop) for crop in crops], axis=0)
    rows = -(-len(crops) // columns)
    canvas = np.empty((rows * PITCH, columns * PITCH, 3), np.float32)
    canvas[:] = empty
    middles: list[tuple[float, float]] = []
    for number, crop in enumerate(crops):
        own = crop.astype(np.float32) * np.asarray(empty / np.array(background(crop)), np.float32)
        column, row = number % columns, number // columns
        x, y = (PITCH * (place + 0.5) + random.integers(-JITTER, JITTER + 1) for place in (column, row))
        _paste(canvas, *_disc(own, random.uniform(0, 360)), int(x), int(y))
        middles.append((float(int(x)), float(int(y))))
    _between(canvas, crops, middles, np.asarray(empty, np.float32), random)
    return Mosaic(np.clip(np.rint(canvas), 0, 255).astype(np.uint8), middles)


def scaled(field: Mosaic, scale: float) -> Mosaic:
    """The same field at another magnification."""
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = np.asarray(cv2.resize(field.image, None, fx=scale, fy=scale, interpolation=kind), np.uint8)
    return Mosaic(image, [(x * scale, y * scale) for x, y in field.middles])


def _disc(crop: Floats, angle: float) -> tuple[Floats, Floats]:
    """A crop that is turned around its middle, and how much of each pixel is shown, 0 to 1."""
    height, width = crop.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    turned = cv2.warpAffine(crop, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    shown = np.zeros((height, width), np.float32)
    cv2.circle(shown, (width // 2, height // 2), min(RADIUS, min(width, height) // 2 - 12), 1.0, -1)
    return np.asarray(turned, np.float32), np.asarray(cv2.GaussianBlur(shown, (0, 0), FADE), np.float32)


def _paste(canvas: Floats, picture: Floats, shown: Floats, x: int, y: int) -> None:
    """Lay a picture on the canvas, with its middle at x and y."""
    height, width = shown.shape
    left, top = x - width // 2, y - height // 2
    part = canvas[top : top + height, left : left + width]
    part += shown[..., None] * (picture - part)


def _between(
    canvas: Floats, crops: Sequence[Image], middles: list[tuple[float, float]], empty: Floats, random: Random
) -> None:
    """Lay red cells where no crop is."""
    sprites = [sprite for crop in crops for sprite in _red_cells(crop, empty)]
    height, width = canvas.shape[:2]
    taken = np.array(middles)
    placed: list[tuple[float, float]] = []
    for _ in range(20 * RED_CELLS * len(middles) if sprites else 0):
        x, y = random.uniform(60, width - 60), random.uniform(60, height - 60)
        far = np.hypot(taken[:, 0] - x, taken[:, 1] - y).min() > RADIUS + HOME_DIAMETER / 4
        if far and all(np.hypot(px - x, py - y) > 1.15 * HOME_DIAMETER for px, py in placed):
            _paste(canvas, *sprites[random.integers(len(sprites))], int(x), int(y))
            placed.append((x, y))
        if len(placed) == RED_CELLS * len(middles):
            break


def _red_cells(crop: Image, empty: Floats) -> list[tuple[Floats, Floats]]:
    """Red cells that lie alone in a crop, each with how much of each pixel is shown."""
    own = background(crop)
    stain = stain_of(crop, HOME_DIAMETER, own)
    mask = ((stain.density > STAINED) & (stain.purple < stain.nucleus)).view(np.uint8)
    rims, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    mask = cv2.drawContours(mask, rims, -1, 1, cv2.FILLED)  # with their pale middles
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask)
    found: list[tuple[Floats, Floats]] = []
    for number, (x, y, width, height, area) in enumerate(boxes.tolist()):
        inside = min(x, y) > 6 and x + width < crop.shape[1] - 6 and y + height < crop.shape[0] - 6
        least, most = (share * red_cell_area(HOME_DIAMETER) for share in AREAS)
        if not (number and inside and least < area < most):
            continue
        window = slice(y - 6, y + height + 6), slice(x - 6, x + width + 6)
        if (stain.purple[window] > stain.nucleus).any():
            continue
        shown = cv2.dilate((labels[window] == number).astype(np.float32), np.ones((5, 5), np.uint8))
        pixels = crop[window].astype(np.float32) * (empty / np.array(own, np.float32))
        found.append((pixels.astype(np.float32), np.asarray(cv2.GaussianBlur(shown, (0, 0), 1.5), np.float32)))
    return found
