"""Plots of a comparison, as coordinates that a page draws: they follow its light or dark theme, and print sharp."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10

from .comparison import ClassCounts, SlideCount

WIDTH, HEIGHT = 320.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 14.0, 40.0
TICKS = 5
LINES = {"equal": "equal", "fit": "Passing–Bablok", "bias": "bias", "limit": "limit of agreement"}


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where it is, and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Point:
    """A slide: where it is, what it is called, and whether it is within its limits."""

    x: float
    y: float
    text: str
    within: bool


@dataclass(frozen=True)
class Line:
    """A line of one kind."""

    kind: str
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Plot:
    """A plot in units of its view box, y downwards.

    Attributes:
        title: What it shows.
        x_title: Of the horizontal axis.
        y_title: Of the vertical one.
        x_ticks: Marks, from left to right.
        y_ticks: Marks, from bottom to top.
        points: One for each slide.
        lines: Straight lines.
    """

    title: str
    x_title: str
    y_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    points: list[Point]
    lines: list[Line] = field(default_factory=list)

    @property
    def kinds(self) -> dict[str, str]:
        """What the lines mean, by their kind."""
        return {line.kind: LINES[line.kind] for line in self.lines}


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self) -> list[Tick]:
        step = _step(self.high - self.low)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [Tick(self.at(k * step), f"{k * step:g}".replace("-", "−")) for k in range(first, last + 1)]


def plot_percents(counts: ClassCounts) -> Plot:
    """Percentages of the reports over those of the reference, with the line of equality, and Passing–Bablok's."""
    top = 1.06 * max(*(max(row.percent, row.reference_percent) for row in counts.slides), 1.0)
    x, y = _Axis(0, top, LEFT, WIDTH - RIGHT), _Axis(0, top, HEIGHT - BOTTOM, TOP)
    lines = [Line("equal", x.at(0), y.at(0), x.at(top), y.at(top))]
    if counts.line:
        ends = [(value, counts.line.intercept + counts.line.slope * value) for value in _inside(counts, top)]
        lines.append(Line("fit", *(place for a, b in ends for place in (x.at(a), y.at(b)))))
    points = [Point(x.at(row.reference_percent), y.at(row.percent), _told(row), row.within) for row in counts.slides]
    titles = f"{counts.entry.title}: percentages", "Reference, %", "Reports, %"
    return Plot(*titles, x.ticks(), y.ticks(), points, lines)


def plot_differences(counts: ClassCounts) -> Plot:
    """Differences over means, with bias and limits of agreement (Bland–Altman)."""
    agreement = counts.agreement
    means = [(row.percent + row.reference_percent) / 2 for row in counts.slides]
    differences = [row.percent - row.reference_percent for row in counts.slides]
    reach = 1.15 * max(*map(abs, differences), *map(abs, agreement.limits if agreement else ()), 0.5)
    x = _Axis(0, 1.06 * max(*means, 1.0), LEFT, WIDTH - RIGHT)
    y = _Axis(-reach, reach, HEIGHT - BOTTOM, TOP)
    levels = [("equal", 0.0)]
    if agreement:
        levels += [("bias", agreement.bias), *(("limit", limit) for limit in agreement.limits)]
    lines = [Line(kind, LEFT, y.at(value), WIDTH - RIGHT, y.at(value)) for kind, value in levels]
    points = [
        Point(x.at(mean), y.at(difference), _told(row), row.within)
        for mean, difference, row in zip(means, differences, counts.slides, strict=True)
    ]
    titles = f"{counts.entry.title}: differences", "Mean of both, %", "Reports less reference"
    return Plot(*titles, x.ticks(), y.ticks(), points, lines)


def _inside(counts: ClassCounts, top: float) -> Sequence[float]:
    """Where the fitted line enters and leaves the plot, as percentages of the reference."""
    assert counts.line is not None
    slope, intercept = counts.line.slope, counts.line.intercept
    if slope <= 0:
        return 0.0, top
    return max(0.0, -intercept / slope), min(top, (top - intercept) / slope)


def _told(row: SlideCount) -> str:
    both = f"{row.percent:.1f} % of {row.cells}, reference {row.reference_percent:.1f} % of {row.reference_cells}"
    limits = f"limits {row.limits[0]:.1f} to {row.limits[1]:.1f} %"
    return f"{row.slide}: {both}; {limits}{'' if row.within else ': outside'}"


def _step(span: float) -> float:
    rough = span / TICKS
    power = 10 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough - 1e-9)
