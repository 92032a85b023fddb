"""Curves of a calibration as PNG, drawn without a plotting library."""

from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from ..runtime.bundle.calibration import Reliability
from .reliability import Bin

WIDTH, HEIGHT = 560, 520
LEFT, TOP, RIGHT, BOTTOM = 76, 70, 530, 450
INK, SOFT, LINE, MARK = "#1c2430", "#5a6473", "#2f76c4", "#d9573f"

Point = tuple[float, float]


def draw_reliability(found: Sequence[Bin], figures: Reliability, part: str) -> bytes:
    """Draw accuracy over confidence, one point for each bin, its area its number of cells.

    Args:
        found: Bins of equal width.
        figures: Of the same cells.
        part: Which cells were counted.

    Returns:
        A PNG file.
    """
    error = figures.ece_equal_width
    low, high = error.interval
    lowest = min(0.9, *(min(b.confidence, b.accuracy) for b in found)) // 0.1 * 0.1
    picture, draw, at = _axes(
        f"Reliability ({part}, {figures.count} cells)",
        f"calibration error {error.value:.3f} ({low:.3f} to {high:.3f}), a perfect model's: {error.perfect:.3f}",
        ("confidence", (lowest, 1.0)),
        ("share that is right", (lowest, 1.0)),
    )
    draw.line([at((lowest, lowest)), at((1, 1))], SOFT, 1)
    draw.line([at((b.confidence, b.accuracy)) for b in found], LINE, 2)
    most = max(b.count for b in found)
    for b in found:
        x, y = at((b.confidence, b.accuracy))
        radius = 2 + 4 * (b.count / most) ** 0.5
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), LINE)
    return _png(picture)


def draw_risk_coverage(
    coverage: npt.NDArray[np.float64], risk: npt.NDArray[np.float64], chosen: float, promised: float, part: str
) -> bytes:
    """Draw the share of wrong cells among those that pass over the share that passes.

    Args:
        coverage: Share that passes, ascending, (N,).
        risk: Share of those that is wrong, (N,).
        chosen: Coverage at the review threshold.
        promised: Share of wrong cells that is promised there.
        part: Which cells were counted.

    Returns:
        A PNG file.
    """
    top = max(float(risk[len(risk) // 10 :].max()), promised, 0.005) * 1.2
    picture, draw, at = _axes(
        f"Errors among the cells that pass ({part}, {len(risk)} cells)",
        f"at the review threshold {chosen:.1%} pass; promised: at most {promised:.2%} wrong",
        ("share that passes", (0.0, 1.0)),
        ("share of those that is wrong", (0.0, top)),
    )
    draw.line([at((0, promised)), at((1, promised))], MARK, 1)
    draw.line([at((chosen, 0)), at((chosen, top))], MARK, 1)
    draw.line([at((float(x), min(float(y), top))) for x, y in zip(coverage, risk, strict=True)], LINE, 2)
    return _png(picture)


def _axes(
    title: str, subtitle: str, x: tuple[str, Point], y: tuple[str, Point]
) -> tuple[PIL.Image.Image, PIL.ImageDraw.ImageDraw, Callable[[Point], Point]]:
    picture = PIL.Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = PIL.ImageDraw.Draw(picture)
    font = PIL.ImageFont.load_default(size=14)
    (x_name, (x_low, x_high)), (y_name, (y_low, y_high)) = x, y

    def at(point: Point) -> Point:
        across, up = (point[0] - x_low) / (x_high - x_low), (point[1] - y_low) / (y_high - y_low)
        return LEFT + across * (RIGHT - LEFT), BOTTOM - up * (BOTTOM - TOP)

    draw.text((LEFT - 60, 12), title, INK, PIL.ImageFont.load_default(size=18))
    draw.text((LEFT - 60, 38), subtitle, SOFT, font)
    draw.rectangle((LEFT, TOP, RIGHT, BOTTOM), outline="#d5d9e0")
    for i in range(6):
        x_value, y_value = x_low + (x_high - x_low) * i / 5, y_low + (y_high - y_low) * i / 5
        draw.text((at((x_value, 0))[0], BOTTOM + 8), f"{x_value:.0%}", SOFT, font, anchor="ma")
        digits = 0 if y_high - y_low > 0.2 else 2
        draw.text((LEFT - 8, at((0, y_value))[1]), f"{y_value:.{digits}%}", SOFT, font, anchor="rm")
    draw.text(((LEFT + RIGHT) / 2, BOTTOM + 34), x_name, INK, font, anchor="ma")
    label = PIL.Image.new("RGB", (BOTTOM - TOP, 20), "white")
    PIL.ImageDraw.Draw(label).text(((BOTTOM - TOP) / 2, 10), y_name, INK, font, anchor="mm")
    picture.paste(label.rotate(90, expand=True), (2, TOP))
    return picture, draw, at


def _png(picture: PIL.Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
