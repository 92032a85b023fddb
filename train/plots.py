"""The curves of a run."""

import csv
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure


def draw_curves(history: Path, file: Path) -> None:
    """Draw loss and, where there is a `select`, its top-1 over the epochs of a `history.csv`."""
    with history.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    epochs = [int(row["epoch"]) for row in rows]
    chooses = "select_loss" in rows[0]
    figure = Figure(figsize=(9 if chooses else 4.5, 3.5), layout="constrained")
    left, *right = figure.subplots(1, 1 + chooses, squeeze=False)[0]
    for name in ("loss", "select_loss") if chooses else ("loss",):
        left.plot(epochs, [float(row[name]) for row in rows], marker=".", label=name)
    left.set(xlabel="epoch", ylabel="cross-entropy")
    left.legend()
    for axes in right:
        axes.plot(epochs, [100 * float(row["select_top1"]) for row in rows], marker=".", color="tab:green")
        axes.set(xlabel="epoch", ylabel="top-1 on select, %")
    for previous, row in pairwise(rows):
        if previous["size"] != row["size"]:
            for axes in (left, *right):
                axes.axvline(int(row["epoch"]) - 0.5, color="gray", linestyle=":", linewidth=1)
    figure.savefig(file, dpi=120)
