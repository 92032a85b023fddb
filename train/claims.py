"""What the paper claims of its Tables 6 and 7, and whether models that were trained here agree."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from ..runtime.statistics import Z95, wilson_interval
from .table5 import ARCHS

SCRATCH, TRANSFER = "scratch", "transfer"

Key = tuple[str, str]  # `SCRATCH` or `TRANSFER`, and an architecture

PAPER: Mapping[Key, str] = {
    (SCRATCH, "rcmnet"): "80.01 %",
    (SCRATCH, "resnet18_c"): "82.63 %",
    (TRANSFER, "rcmnet"): "83.36 %",
}
"""Top-1 on the paper's CAR-T cells; its other figures were not found in public text."""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: `first` is ahead of each of `others`."""

    text: str
    first: Key
    others: Sequence[Key]


CLAIMS = (
    Claim(
        "From scratch, rcmnet is behind resnet18_c (80.01 % and 82.63 %)",
        (SCRATCH, "resnet18_c"),
        [(SCRATCH, "rcmnet")],
    ),
    Claim(
        "After transfer, rcmnet is first (83.36 %)",
        (TRANSFER, "rcmnet"),
        [(TRANSFER, arch) for arch in ARCHS if arch != "rcmnet"],
    ),
    Claim(
        "Transfer makes rcmnet better (80.01 % to 83.36 %)",
        (TRANSFER, "rcmnet"),
        [(SCRATCH, "rcmnet")],
    ),
)


@dataclass(frozen=True, eq=False)
class Row:
    """One model of a table.

    Attributes:
        name: Its name.
        paper: Top-1 that the paper reports.
        right: Of each of the N cells, the share of the seeds whose model was right; NaN where it was not tested.
        folds: Number of folds that were tested.
        seeds: Number of seeds.
    """

    name: str
    paper: str
    right: npt.NDArray[np.float64]
    folds: int
    seeds: int

    @property
    def count(self) -> int:
        """Number of cells that were tested."""
        return int((~np.isnan(self.right)).sum())

    @property
    def top1(self) -> float:
        """Mean over cells and seeds."""
        return float(np.nanmean(self.right))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the mean, where a cell counts once."""
        return wilson_interval(round(self.top1 * self.count), self.count)


@dataclass(frozen=True)
class Lead:
    """By how much one model is right more often than another: a share of the cells, and its 95 % interval."""

    share: float
    low: float
    high: float


def lead(first: Row, second: Row) -> Lead:
    """Compare two models on the cells that both were tested on.

    The interval is that of Agresti and Min (2005) for pairs: half a cell is added to each of the four outcomes, so
    that it has a width where both models have the same answers.
    """
    difference = (first.right - second.right)[~np.isnan(first.right + second.right)]
    count = len(difference) + 2
    mean = float(difference.sum()) / count
    half = Z95 * sqrt((float((difference**2).sum()) + 1) / count - mean**2) / sqrt(count)
    return Lead(float(difference.mean()), mean - half, mean + half)


def verdict(leads: Iterable[Lead]) -> str:
    """Whether the claim that a model is ahead of all others `agrees`, `differs`, or `cannot be told`."""
    leads = list(leads)
    if all(each.low > 0 for each in leads):
        return "agrees"
    return "differs" if any(each.high < 0 for each in leads) else "cannot be told"


def claim_lines(rows: Mapping[Key, Row]) -> Iterator[str]:
    """Lines of a Markdown table of the claims whose models are there."""
    complete = [claim for claim in CLAIMS if {claim.first, *claim.others} <= rows.keys()]
    if not complete:
        return
    yield "| claim of the paper | on these cells | points ahead (95 % interval, paired by cell) |"
    yield "|---|---|---|"
    for claim in complete:
        leads = {other: lead(rows[claim.first], rows[other]) for other in claim.others}
        shown = "; ".join(
            f"{' '.join(claim.first)} before {' '.join(other)}: {points(leads[other])}" for other in leads
        )
        yield f"| {claim.text} | {verdict(leads.values())} | {shown} |"


def points(each: Lead) -> str:
    """A lead in percentage points."""
    return f"{100 * each.share:+.1f} ({100 * each.low:+.1f} to {100 * each.high:+.1f})"
