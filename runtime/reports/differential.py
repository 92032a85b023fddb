"""Counts of a slide's cells, as a haematologist reads them."""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..bundle.manifest import CellClass, Kind
from ..statistics import wilson_interval

FEWEST_LEUKOCYTES = 100


class DifferentialRow(Struct, frozen=True):
    """Count of one class; what does not apply to it is None.

    Attributes:
        percent: Of the leukocytes, or of all cells; with its 95 % Wilson interval.
        per_100_leukocytes: Of nucleated red cells.
    """

    name: str
    title: str
    kind: Kind
    color: str
    count: int
    percent: float | None = None
    percent_interval: tuple[float, float] | None = None
    per_100_leukocytes: float | None = None


class Differential(Struct, frozen=True):
    """Differential of a slide.

    Attributes:
        leukocytes: Their number; None where percentages are of all cells.
        warning: Why the percentages are not reliable, or None.
        rows: One for each class.
    """

    leukocytes: int | None
    warning: str | None
    rows: list[DifferentialRow]


def differential(counts: Counter[str], classes: Sequence[CellClass]) -> Differential:
    """Differential of labelled cells.

    Leukocyte classes are percentages of all leukocytes; nucleated red cells are given per 100 leukocytes,
    platelets and others as a count. Where a bundle has two classes only, or none of leukocytes, all classes are
    percentages of all cells.

    Args:
        counts: Number of cells by class name.
        classes: Classes of the bundle, in the order of the rows.
    """
    of_all = len(classes) == 2 or all(entry.kind != "leukocyte" for entry in classes)
    total = sum(counts[entry.name] for entry in classes if of_all or entry.kind == "leukocyte")
    few = not of_all and total < FEWEST_LEUKOCYTES
    return Differential(
        leukocytes=None if of_all else total,
        warning=f"only {total} leukocytes: a differential needs at least {FEWEST_LEUKOCYTES}" if few else None,
        rows=[_row(entry, counts[entry.name], total, of_all) for entry in classes],
    )


def _row(entry: CellClass, count: int, total: int, of_all: bool) -> DifferentialRow:
    row = DifferentialRow(entry.name, entry.title, entry.kind, entry.color, count)
    if total and (of_all or entry.kind == "leukocyte"):
        low, high = wilson_interval(count, total)
        return replace(row, percent=100 * count / total, percent_interval=(100 * low, 100 * high))
    if total and entry.kind == "nrbc":
        return replace(row, per_100_leukocytes=100 * count / total)
    return row
