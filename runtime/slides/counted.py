"""Which row counts a cell that several files of a slide show."""

from ..ledger.records import Box, Cell
from ..ledger.slide_ledger import SlideLedger

Identity = tuple[str | None, Box | None]
"""Of a cell: digest of its file, and its box where that is a field."""


def identity(cell: Cell) -> Identity:
    """What is the same for the rows of a cell in files with the same bytes."""
    return cell.sha256, cell.box


def first_of_each(ledger: SlideLedger) -> dict[Identity, tuple[int, str]]:
    """Number and path of the first row of each cell; rows that are to be replaced do not count."""
    replaced = ledger.rows_to_be_replaced()
    cells = (cell for cell in ledger.cells() if cell.can_be_corrected and cell.seq not in replaced)
    first: dict[Identity, tuple[int, str]] = {}
    for cell in cells:
        first.setdefault(identity(cell), (cell.seq, cell.path))
    return first


def orphans_of(ledger: SlideLedger) -> set[int]:
    """Numbers of the images with a duplicate of which no equal cell is counted.

    A copy of a field is none while its original is counted, be it in the rows of a field that overlaps it.
    """
    replaced, owners = ledger.rows_to_be_replaced(), ledger.owners()
    counted, numbers, duplicates = set[Identity](), set[int](), list[Cell]()
    for cell in ledger.cells():
        if cell.status == "duplicate":
            duplicates.append(cell)
        elif cell.can_be_corrected and cell.seq not in replaced:
            counted.add(identity(cell))
            numbers.add(cell.seq)
    elsewhere = [cell for cell in duplicates if cell.same_cell_as in numbers and cell.seq not in replaced]
    counted.update(map(identity, elsewhere))
    return {
        owners[cell.seq]
        for cell in duplicates
        if (cell.same_cell_as not in numbers if cell.same_cell_as else identity(cell) not in counted)
    }
