"""Counts of a slide's cells, as a haematologist reads them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..bundle.manifest import CellClass
from ..statistics import wilson_interval

FEWEST_LEUKOCYTES = 100


def differential(counts: Counter[str], classes: Sequence[CellClass]) -> dict[str, Any]:
    """Differential of labelled cells.

    Leukocyte classes are percentages of all leukocytes; nucleated red cells are given per 100 leukocytes,
    platelets and others as a count. Where a bundle has two classes only, or none of leukocytes, all classes are
    percentages of all cells.

    Args:
        counts: Number of cells by class name.
        classes: Classes of the bundle.

    Returns:
        `leukocytes` (their number; None where percentages are of all cells), `warning` (or None), and `rows`: per
        class `name`, `title`, `kind`, `color`, `count`, `percent` with its 95 % Wilson interval
        `percent_interval`, and `per_100_leukocytes`; each None where it does not apply.
    """
    of_all = len(classes) == 2 or all(entry.kind != "leukocyte" for entry in classes)
    shared = [entry.name for entry in classes if of_all or entry.kind == "leukocyte"]
    total = sum(counts[name] for name in shared)
    rows = []
    for entry in classes:
        count = counts[entry.name]
        row: dict[str, Any] = {
            "name": entry.name,
            "title": entry.title,
            "kind": entry.kind,
            "color": entry.color,
        }
        row |= {"count": count, "percent": None, "percent_interval": None, "per_100_leukocytes": None}
        if entry.name in shared and total:
            row["percent"] = 100 * count / total
            row["percent_interval"] = [100 * bound for bound in wilson_interval(count, total)]
        elif entry.kind == "nrbc" and total:
            row["per_100_leukocytes"] = 100 * count / total
        rows.append(row)
    few = not of_all and total < FEWEST_LEUKOCYTES
    warning = f"only {total} leukocytes: a differential needs at least {FEWEST_LEUKOCYTES}" if few else None
    return {"leukocytes": None if of_all else total, "warning": warning, "rows": rows}
