"""Judges a slide by its cells, and records an alarm in its ledger.

It is done wherever rows are shown, so that no row is `ok` because the process that made it ended before it looked.
"""

from ..bundle.bundle import Bundle
from ..bundle.drift import alarm_at, looks
from ..ledger.slide_ledger import SlideLedger


def take_looks(ledger: SlideLedger, bundle: Bundle) -> None:
    """Take the looks at a slide that are due; after an alarm none is, because it stays.

    Args:
        ledger: Of the slide.
        bundle: The bundle that made its rows.

    Raises:
        OSError: An alarm cannot be recorded; the look is due again.
    """
    record = bundle.manifest.calibration
    if record is None or ledger.alarm():
        return
    count = ledger.labels().total()
    due = list(enumerate(looks(count), 1))[ledger.looks :]
    if not due:
        return
    earliest = min(first for _, (first, _) in due)
    cells = ledger.measured(count - earliest)
    for look, (first, end) in due:
        if found := alarm_at(look, cells[first - earliest : end - earliest], record.typical):
            ledger.set_alarm(", ".join(found))
            return
    ledger.looks = due[-1][0]
