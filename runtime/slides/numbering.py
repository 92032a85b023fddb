"""Numbers of rows: new ones go up by one, and an image that is classified again keeps those that it had."""

from dataclasses import replace

from ..inference.predictions import Prediction
from ..ledger.records import Cell, LedgerImage
from ..ledger.slide_ledger import SlideLedger

WITHDRAWN = "its field was changed, and does not show it any more"


class Numbering:
    """Numbers of the rows of one run."""

    def __init__(self, ledger: SlideLedger):
        """No number is given yet."""
        self._ledger, self._next = ledger, ledger.next_seq()
        self._before: dict[int, list[Cell]] = {}

    def number(self, image: LedgerImage, prediction: Prediction) -> int:
        """Number of a prediction's row: the first cell of an image takes the first number that the image had, etc.

        The same bytes give the same cells in the same order, so that each keeps its number.
        """
        place, before = prediction.part.number - 1 if prediction.part else 0, self._rows_of(image)
        if place < len(before):
            return before[place].seq
        self._next += 1
        return self._next - 1

    def withdrawn(self, image: LedgerImage, count: int) -> list[Cell]:
        """Rows of an image that has fewer cells than before: they are no longer counted, and keep their history."""
        surplus = self._rows_of(image)[count:]
        return [replace(cell, status="gone", reason=WITHDRAWN) for cell in surplus if cell.status != "gone"]

    def _rows_of(self, image: LedgerImage) -> list[Cell]:
        if image.seq is None:
            return []
        if image.id not in self._before:
            self._before[image.id] = self._ledger.rows_of(image.id)
        return self._before[image.id]
