"""Reliability diagram, risk–coverage curve, learning curve and confusion matrix, as PNG."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..runtime.bundle.calibration import Reliability
from ..runtime.statistics import wilson_interval
from .reliability import bins, equal_width
from .risk import Bools, Floats, Promise, risk_coverage

WIDTH, HEIGHT, DPI = 5.6, 5.2, 150  # inches
LINE, MARK, SOFT, GRID = "#2f76c4", "#d9573f", "#5a6473", "#d5d9e0"


@dataclass(frozen=True)
class CurvePoint:
    """Cells that a head was fitted on, and the share of other cells that it labels right: mean, least and most."""

    cells: int
    mean: float
    least: float
    most: float


def draw_reliability(confidences: Floats, correct: Bools, figures: Reliability, part: str) -> bytes:
    """Draw accuracy over confidence in bins of equal width, and how many cells each has.

    Args:
        confidences: Of N cells, (N,).
        correct: Whether their labels are right, (N,).
        figures: Of the same cells.
        part: Which cells were counted.
    """
    edges, error = equal_width(confidences), figures.ece_equal_width
    counts, confidence, accuracy = bins(confidences, correct, edges)
    intervals = np.array(
        [wilson_interval(round(share * count), count) for share, count in zip(accuracy, counts, strict=True)]
    )
    figure = Figure((WIDTH, HEIGHT), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    low, high = error.interval
    _title(
        top,
        f"Reliability diagram ({part}, {figures.count} cells)",
        f"ECE {error.value:.3f} (95 % interval {low:.3f} to {high:.3f}); of a perfect model: {error.perfect:.3f}",
    )
    top.plot([0, 1], [0, 1], "--", color=SOFT, linewidth=1, label="perfectly calibrated")
    spread = np.abs(intervals.T - accuracy)
    top.errorbar(confidence, accuracy, spread, fmt="o", color=LINE, capsize=3, label="cells of a bin, 95 % interval")
    top.set(ylabel="Accuracy", xlim=(edges[edges <= confidences.min()].max(), 1.01), ylim=(-0.02, 1.02))
    figure.legend(loc="outside lower center", ncols=2)
    bottom.hist(confidences, edges, log=True, color=LINE, edgecolor="white")
    bottom.set(xlabel="Confidence", ylabel="Cells", ylim=(0.5, None))
    for axis in (top.xaxis, top.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    return _png(figure)


def draw_learning_curve(points: Sequence[CurvePoint], unit: str) -> bytes:
    """Draw the share of right cells over the number of cells that the head was fitted on.

    Args:
        points: By number of cells.
        unit: How the figures are marked.
    """
    figure = Figure((WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    _title(axes, f"Learning curve ({unit})", f"{points[-1].mean:.1%} right with {points[-1].cells} cells")
    sizes = [point.cells for point in points]
    axes.fill_between(
        sizes, [p.least for p in points], [p.most for p in points], color=GRID, label="worst to best fold"
    )
    axes.plot(sizes, [point.mean for point in points], "o-", color=LINE, label="mean of all folds")
    axes.set(xlabel="Labelled cells", ylabel="Right", xscale="log", xticks=sizes, xticklabels=map(str, sizes))
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=2)
    return _png(figure)


def draw_risk_coverage(confidences: Floats, correct: Bools, found: Promise, part: str) -> bytes:
    """Draw the share of wrong cells among those that pass over the share that passes.

    Args:
        confidences: Of N cells, (N,).
        correct: Whether their labels are right, (N,).
        found: The review threshold for the same cells, and what it guarantees.
        part: Which cells were counted.
    """
    coverage, risk = risk_coverage(confidences, correct)
    chosen = found.chosen.passing / len(risk)
    figure = Figure((WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    _title(
        axes,
        f"Risk–coverage curve ({part}, {len(risk)} cells)",
        f"at the review threshold {chosen:.1%} pass, {found.chosen.wrong} of them wrong",
    )
    axes.plot(coverage, risk, color=LINE, label="wrong among those that pass")
    label = "held" if found.reached else "asked for, not reached"
    axes.axhline(found.asked, color=MARK, linestyle="--", linewidth=1, label=f"{label}: at most {found.asked:.2%}")
    axes.axvline(chosen, color=MARK, linewidth=1, label="review threshold")
    top = max(float(risk[len(risk) // 10 :].max()), found.asked)  # the share of a few cells says nothing
    axes.set(xlabel="Coverage", ylabel="Selective risk", xlim=(0, 1.01), ylim=(0, 1.2 * top))
    figure.legend(loc="outside lower center", ncols=2)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return _png(figure)


def draw_confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], part: str) -> bytes:
    """Draw a confusion matrix, coloured by the share of each true class.

    Args:
        counts: Rows are true classes, columns predicted ones.
        classes: Names in order.
        part: Which cells were counted.
    """
    matrix = np.asarray(counts)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = max(WIDTH, 2 + len(classes) / 2)
    figure = Figure((side, side), layout="constrained")
    axes = figure.subplots()
    _title(axes, f"{matrix.trace()} of {matrix.sum()} right ({part})", "colour: share of the true class")
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors=GRID, linewidth=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column + 0.5, row + 0.5, str(count), ha="center", va="center", color=color)
    middles = np.arange(len(classes)) + 0.5
    axes.set_xticks(middles, classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(middles, classes)
    axes.set(xlabel="Predicted class", ylabel="True class", aspect="equal")
    axes.invert_yaxis()
    return _png(figure)


def _title(axes: Axes, title: str, subtitle: str) -> None:
    """Two lines; the name of a folder in them is no formula."""
    axes.set_title(title, loc="left", fontsize=12, pad=20, parse_math=False)
    axes.text(0, 1.02, subtitle, color=SOFT, fontsize=9, transform=axes.transAxes)


def _png(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, dpi=DPI)
    return file.getvalue()
