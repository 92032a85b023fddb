"""Pictures of metrics, drawn without a plotting library so that the edge can draw them too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

CELL, MARGIN = 64, 24
FULL = np.array([8, 48, 107])  # colour of a share of 100 %


def draw_confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], part: str, file: Path) -> None:
    """Draw a confusion matrix as PNG.

    Args:
        counts: Rows are true classes, columns predicted ones.
        classes: Names in order.
        part: Which cells were counted; goes into the title.
        file: Picture to write.
    """
    matrix = np.asarray(counts)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    font = PIL.ImageFont.load_default(size=16)
    names = max(int(font.getlength(name)) for name in classes) + MARGIN
    left, top = MARGIN + names, 4 * MARGIN
    side = CELL * len(classes)
    picture = PIL.Image.new("RGB", (max(left + side + MARGIN, 560), top + side + names + 2 * MARGIN), "white")
    draw = PIL.ImageDraw.Draw(picture)
    title = f"{matrix.trace()} of {matrix.sum()} right ({part})"
    draw.text((MARGIN, MARGIN), title, "black", PIL.ImageFont.load_default(size=19))
    draw.text((MARGIN, 2 * MARGIN + 2), "rows: true class, columns: label given", "#5a6473", font)
    for (row, column), count in np.ndenumerate(matrix):
        share = shares[row, column]
        color = tuple((255 + (FULL - 255) * share).astype(int).tolist())
        x, y = left + column * CELL, top + row * CELL
        draw.rectangle((x, y, x + CELL - 2, y + CELL - 2), color, outline="#d5d9e0")
        if count:
            middle = (x + CELL / 2, y + CELL / 2)
            draw.text(middle, str(count), "white" if share > 0.5 else "black", font, anchor="mm")
    for index, name in enumerate(classes):
        middle = index * CELL + CELL / 2
        draw.text((left - 10, top + middle), name, "black", font, anchor="rm")
        label = PIL.Image.new("RGB", (names, 24), "white")
        PIL.ImageDraw.Draw(label).text((names - 8, 12), name, "black", font, anchor="rm")
        picture.paste(label.rotate(90, expand=True), (int(left + middle - 12), top + side + 4))
    picture.save(file)
