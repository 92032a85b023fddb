"""Counts of a slide's cells where they are no differential: by class, with the cells that speak against the most."""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from ..bundle.manifest import CellClass
from ..ledger.records import Cell

FEWEST_CELLS = 20
SHOWN = 12  # of the cells that speak against it
MEANING = (
    "no interval is given: cells of one patient are not independent",
    "a label tells how a cell looks: these counts are not the probability of a diagnosis, and not a genetic result",
)
"""What a person must know of any finding."""


class FindingRow(Struct, frozen=True):
    """Count of one class."""

    name: str
    title: str
    color: str
    count: int


class Finding(Struct, frozen=True):
    """Finding of a slide. It has no intervals: they would be those of independent cells.

    Attributes:
        sentence: What was found, for people.
        cells: Number of cells that are counted, whatever their label.
        most: The label of most cells, also one that only a person gave; None where none has more than each other one.
        against: How many cells have another label than that.
        shown: Numbers of some of them: those that a person labelled, then those that the model is surest of.
        warning: Why the counts say little; None where nothing is to be said.
        rows: One for each class.
    """

    sentence: str
    cells: int
    most: str | None
    against: int
    shown: list[int]
    warning: str | None
    rows: list[FindingRow]


def finding(cells: Sequence[Cell], classes: Sequence[CellClass]) -> Finding:
    """Finding of labelled cells.

    Args:
        cells: Rows of a slide; those that are not counted are left out.
        classes: Classes of the bundle, in the order of the rows.
    """
    counted, titles = [cell for cell in cells if cell.counts_as], {entry.name: entry.title for entry in classes}
    counts = Counter(cell.counts_as or "" for cell in counted)
    highest = max(counts.values(), default=0)
    first = [name for name in (*titles, *sorted(counts.keys() - titles)) if counts[name] == highest]
    most = first[0] if counted and len(first) == 1 else None
    against = [cell for cell in counted if most and cell.counts_as != most]
    return Finding(
        sentence=_sentence([titles.get(name, name) for name in first], highest, len(counted)),
        cells=len(counted),
        most=most,
        against=len(against),
        shown=[cell.seq for cell in sorted(against, key=_surest_first)[:SHOWN]],
        warning=_warning(len(counted)),
        rows=[FindingRow(entry.name, entry.title, entry.color, counts[entry.name]) for entry in classes],
    )


def _sentence(titles: Sequence[str], count: int, cells: int) -> str:
    """The finding: the labels of most cells, `titles`, each with `count` of them."""
    if not cells:
        return "no cell counted"
    others = "".join(f", {count} labelled {title}" for title in titles[1:])
    return f"{count} of {count_of_cells(cells)} labelled {titles[0]}{others}"


def _warning(cells: int) -> str | None:
    few = 0 < cells < FEWEST_CELLS
    return f"only {count_of_cells(cells)}: a finding needs at least {FEWEST_CELLS}" if few else None


def count_of_cells(count: int) -> str:
    """Such as `1 cell` and `2 cells`."""
    return f"{count} cell{'' if count == 1 else 's'}"


def _surest_first(cell: Cell) -> tuple[bool, float, int]:
    return not cell.is_decided, -(cell.confidence or 0), cell.seq
