"""Counts of a slide's cells, as a haematologist reads them."""

from collections import Counter
from collections.abc import Sequence
from math import isfinite

from msgspec import Struct
from msgspec.structs import replace

from ..bundle.manifest import CellClass, Kind
from ..ledger.slide_info import SlideInfo
from ..statistics import clopper_pearson_interval
from .estimate import Estimate

FEWEST_LEUKOCYTES = 100


class DifferentialRow(Struct, frozen=True):
    """Count of one class; what does not apply to it is None.

    Attributes:
        expected: How many cells of the class there may be, given the model's errors: 95 % interval; None where that is
            the count itself, or is not estimated.
        percent: Of the leukocytes.
        per_100_leukocytes: Of nucleated red cells.
        interval: 95 % interval of `percent` or `per_100_leukocytes`.
    """

    name: str
    title: str
    kind: Kind
    color: str
    count: int
    expected: tuple[int, int] | None = None
    percent: float | None = None
    per_100_leukocytes: float | None = None
    interval: tuple[float, float] | None = None


class Differential(Struct, frozen=True):
    """Differential of a slide.

    Attributes:
        leukocytes: Their number.
        errors_counted: Whether the intervals count the model's errors beside chance; else they are Clopper–Pearson's.
        warning: Why the percentages are not reliable; None where they are.
        rows: One for each class.
    """

    leukocytes: int
    errors_counted: bool
    warning: str | None
    rows: list[DifferentialRow]


class AbsoluteCount(Struct, frozen=True):
    """How many cells of a class there are in the blood, in 10⁹ per litre."""

    name: str
    title: str
    per_litre: float


class AbsoluteCounts(Struct, frozen=True):
    """Absolute counts, from the white count of an analyser.

    Attributes:
        white_count: Of the analyser, in 10⁹ per litre.
        corrected: The same without nucleated red cells, which an analyser may take for white ones.
        rows: Leukocytes and nucleated red cells by class.
    """

    white_count: float
    corrected: float
    rows: list[AbsoluteCount]


def differential(counts: Counter[str], classes: Sequence[CellClass], estimated: Estimate | None = None) -> Differential:
    """Differential of labelled cells.

    Leukocyte classes are percentages of all leukocytes; nucleated red cells are given per 100 leukocytes,
    platelets and others as a count.

    Args:
        counts: Number of cells by class name.
        classes: Classes of the bundle, in the order of the rows.
        estimated: What the model's errors make of these counts: the intervals are the wider for it.
    """
    whole = [entry.name for entry in classes if entry.kind == "leukocyte"]
    total = sum(counts[name] for name in whole)
    few = total < FEWEST_LEUKOCYTES
    return Differential(
        leukocytes=total,
        errors_counted=estimated is not None,
        warning=f"only {total} leukocytes: a differential needs at least {FEWEST_LEUKOCYTES}" if few else None,
        rows=[_row(entry, counts[entry.name], total, whole, estimated) for entry in classes],
    )


def absolute_counts(found: Differential, info: SlideInfo | None) -> AbsoluteCounts | None:
    """Absolute counts of a differential; None where the analyser's white count, or a leukocyte, is lacking.

    White count · 100 / (100 + nucleated red cells per 100 leukocytes) is the count without nucleated red cells.
    """
    if info is None or info.white_count is None or not found.leukocytes:
        return None
    nucleated = sum(row.per_100_leukocytes or 0 for row in found.rows)
    corrected = info.white_count if info.white_count_corrected else info.white_count * 100 / (100 + nucleated)
    shares = [(row, row.percent if row.kind == "leukocyte" else row.per_100_leukocytes) for row in found.rows]
    rows = [AbsoluteCount(row.name, row.title, corrected * share / 100) for row, share in shares if share is not None]
    return AbsoluteCounts(info.white_count, corrected, rows)


def _row(entry: CellClass, count: int, total: int, whole: Sequence[str], estimated: Estimate | None) -> DifferentialRow:
    expected = estimated.expected(entry.name) if estimated else None
    row = DifferentialRow(
        entry.name, entry.title, entry.kind, entry.color, count, None if expected == (count, count) else expected
    )
    if total and entry.name in whole:
        by_count = clopper_pearson_interval(count, total)
        interval = _hull(by_count, estimated.share(entry.name, whole) if estimated else by_count)
        return replace(row, percent=100 * count / total, interval=interval)
    if total and entry.kind == "nrbc":
        low, high = (share / (1 - share) for share in clopper_pearson_interval(count, count + total))
        interval = _hull((low, high), estimated.ratio(entry.name, whole) if estimated else (low, high))
        return replace(row, per_100_leukocytes=100 * count / total, interval=interval)
    return row


def _hull(*intervals: tuple[float, float]) -> tuple[float, float] | None:
    """Percentages of the interval that holds all of them; None where it has no upper end."""
    low, high = (100 * pick(ends) for pick, ends in zip((min, max), zip(*intervals, strict=True), strict=True))
    return (low, high) if isfinite(high) else None
