"""Labels that persons gave cells, and the rows of these cells when they are classified again."""

from collections.abc import Callable

from ..ledger.records import TAKEN_BACK, Cell
from ..ledger.slide_ledger import SlideLedger


class GivenLabels:
    """Labels that persons gave the cells of a slide."""

    def __init__(self, ledger: SlideLedger, notify: Callable[[str], None]):
        """Read them.

        Args:
            ledger: Ledger of the slide.
            notify: Called with what became of a label that no longer counts.
        """
        corrections = ledger.corrections()
        self._slide, self._notify = ledger.slide.name, notify
        self._made = {(made.seq, made.sha256, made.box): made for made in corrections}
        last = {made.seq: made for made in corrections}
        self._in_effect = {seq: made for seq, made in last.items() if made.to_label != TAKEN_BACK}

    def applied_to(self, cell: Cell) -> Cell:
        """A new row with its label, if the picture is still the one that the person saw."""
        made = self._made.get((cell.seq, cell.sha256 or "", cell.box))
        if made and cell.can_be_corrected:
            if made.to_label != TAKEN_BACK:
                self._in_effect[cell.seq] = made
            return made.applied_to(cell)
        if lost := self._in_effect.pop(cell.seq, None):
            self._notify(
                f"{self._slide}: no. {cell.seq} ({cell.path}) has changed since {lost.corrected_by} labelled it"
                f" {lost.to_label}: that label no longer counts"
            )
        return cell
