"""Boxes of what was found, drawn on a copy of the field."""

import cv2

from ..images.resize import Image
from .find import Field, Found

CELL, AT_EDGE, JOINED, SMUDGE = (0, 110, 0), (200, 90, 0), (190, 0, 160), (90, 90, 90)  # red, green, blue
THICKNESS = 0.05  # diameters of a red cell
LETTERS = 0.012  # height of the numbers in diameters, as OpenCV counts it
JPEG_QUALITY = 92


def drawn(image: Image, field: Field, diameter: float) -> bytes:
    """Draw boxes on a copy of a field: cells with their numbers in reading order, smudges without.

    Green: a cell. Orange: the field's border may cut it. Magenta: it may be two. Grey: a smudge.

    Args:
        image: The field: RGB, uint8, (H, W, 3).
        field: What was found in it.
        diameter: Of a red cell in pixels.

    Returns:
        A JPEG file.
    """
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    thick = max(1, round(THICKNESS * diameter))
    for smudge in field.smudges:
        _box(picture, smudge, SMUDGE, thick)
    for number, cell in enumerate(field.cells, 1):
        color = JOINED if cell.joined else AT_EDGE if cell.at_edge else CELL
        _box(picture, cell, color, thick)
        size = max(0.4, LETTERS * diameter)
        place = cell.x + 2 * thick, cell.y + 2 * thick + round(24 * size)
        cv2.putText(picture, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, size, color[::-1], max(1, thick // 2))
    ok, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise RuntimeError("OpenCV could not encode a field")
    return encoded.tobytes()


def _box(picture: cv2.typing.MatLike, found: Found, color: tuple[int, int, int], thick: int) -> None:
    cv2.rectangle(picture, (found.x, found.y), (found.x + found.w - 1, found.y + found.h - 1), color[::-1], thick)
