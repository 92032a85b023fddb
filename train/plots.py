"""Pictures of a run: confusion matrix and training curves."""

import csv
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], part: str, file: Path) -> None:
    """Draw a confusion matrix; `part` names the part of the split that was counted."""
    matrix = np.asarray(counts)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = 2.5 + 0.6 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted", ylabel="true", title=f"{matrix.trace()} of {matrix.sum()} right ({part})")
    figure.savefig(file, dpi=120)


def curves(history: Path, file: Path) -> None:
    """Draw loss and top-1 of `select` over the epochs of a `history.csv`."""
    with history.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    epochs = [int(row["epoch"]) for row in rows]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in ("loss", "select_loss"):
        left.plot(epochs, [float(row[name]) for row in rows], marker=".", label=name)
    left.set(xlabel="epoch", ylabel="cross-entropy")
    left.legend()
    right.plot(epochs, [100 * float(row["select_top1"]) for row in rows], marker=".", color="tab:green")
    right.set(xlabel="epoch", ylabel="top-1 on select, %")
    for previous, row in pairwise(rows):
        if previous["size"] != row["size"]:
            for axes in (left, right):
                axes.axvline(int(row["epoch"]) - 0.5, color="gray", linestyle=":", linewidth=1)
    figure.savefig(file, dpi=120)
