"""Prints a comparison with a reference."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from .show import counted, notify, results

if TYPE_CHECKING:
    from ..calibration.compare import Comparison
    from ..calibration.comparison import Counts, SameCells


def compared(page: Path, comparison: "Comparison") -> None:
    """Print the figures of a comparison and the path of its page."""
    for warning in comparison.warnings:
        notify(f"warning: {warning}")
    if comparison.same:
        _same_cells(comparison.same)
    if comparison.counts:
        _counts(comparison.counts)
    results.print(os.fspath(page), markup=False, soft_wrap=True)


def _same_cells(same: "SameCells") -> None:
    table = _table("class", "reference", "reports", "sensitivity", "specificity")
    for row in same.rows:
        shares = ("" if value is None else f"{value:.1%}" for value in (row.sensitivity, row.specificity))
        table.add_row(Text(row.label), str(row.reference), str(row.reports), *shares)
    results.print(table)
    low, high = same.agreed_interval
    line = f"{same.agreed} of {same.cells} cells have the same label: {same.agreed / same.cells:.1%}, 95 % interval"
    results.print(f"{line} {low:.1%} to {high:.1%}", markup=False, soft_wrap=True)
    kappa = same.kappa
    if kappa.value is None:
        results.print("Cohen's kappa is not defined: all cells have one label", markup=False)
        return
    line = f"Cohen's kappa {kappa.value:.3f}"
    if kappa.interval:
        low, high = kappa.interval
        line += f", 95 % interval {low:.3f} to {high:.3f}, bootstrapped by slide ({kappa.slides} slides)"
    results.print(line, markup=False, soft_wrap=True)


def _counts(counts: "Counts") -> None:
    table = _table("class", "median %", "outside", "bias", "limits of agreement")
    for found in counts.classes:
        agreement = ("", "")
        if found.agreement:
            low, high = found.agreement.limits
            agreement = (f"{found.agreement.bias:+.1f}", f"{low:.1f} to {high:.1f}")
        table.add_row(Text(found.entry.name), f"{found.median:.1f}", str(found.outside), *agreement)
    results.print(table)
    within = counts.checked - counts.outside
    line = f"{within} of {counts.checked} percentages of {counted(len(counts.slides), 'slide')}"
    line += " are within the two-sample limits"
    results.print(line, markup=False, soft_wrap=True)


def _table(first: str, *others: str) -> Table:
    table = Table(first, box=None, padding=(0, 2, 0, 0))
    for name in others:
        table.add_column(name, justify="right")
    return table
