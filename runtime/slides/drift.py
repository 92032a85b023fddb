"""Judges a slide by its cells as they arrive, and records an alarm in its ledger."""

from ..bundle.bundle import Bundle
from ..bundle.drift import alarm_at, looks
from ..ledger.slide_ledger import SlideLedger


class SlideDrift:
    """The looks at one slide: those that its cells allow, each once."""

    def __init__(self, ledger: SlideLedger, bundle: Bundle):
        """Prepare the looks; the first update takes all that were due before.

        Args:
            ledger: Of the slide.
            bundle: The bundle that makes its rows.
        """
        self._ledger, self._taken, self._has_alarm = ledger, 0, bool(ledger.alarm())
        record = bundle.manifest.calibration
        self._typical = record.typical if record else None

    def update(self) -> None:
        """Take the looks that are due now; after an alarm none is, because it stays."""
        if self._has_alarm or self._typical is None:
            return
        count = self._ledger.labels().total()
        due = list(enumerate(looks(count), 1))[self._taken :]
        if not due:
            return
        earliest = min(first for _, (first, _) in due)
        cells = self._ledger.measured(count - earliest)
        for look, (first, end) in due:
            if found := alarm_at(look, cells[first - earliest : end - earliest], self._typical):
                self._ledger.set_alarm(", ".join(found))
                self._has_alarm = True
                break
        self._taken = due[-1][0]
