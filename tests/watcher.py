"""A watch with a stub in the place of the model, in a process that may be killed.

python tests/watcher.py CAPTURES OUT [MUTANT]

A mutant does one thing wrong, which a trial must find.
"""

import os
import sys
from pathlib import Path

from fakes import FakeBackend, uncalibrated

from cartcls.runtime import watch as watching
from cartcls.runtime import work
from cartcls.runtime.bundle import load_bundle
from cartcls.runtime.ledger import Cursor, Ledger, Slide
from cartcls.runtime.open_ledger import open_ledger
from cartcls.runtime.service import Stop, run
from cartcls.runtime.watch import Patience, Watch


def append_and_then_remember(ledger: Ledger, slide: Slide, header: str, file: Path) -> None:
    """What most programs do."""
    cursor = ledger.cursor(slide)
    with file.open("a") as handle:
        for line in [*([] if cursor.size else [header]), *ledger.lines(slide, cursor.seq)]:
            handle.write(line)
    ledger.move_cursor(slide, Cursor(ledger.next_seq(slide) - 1, 1, stale=False))


MUTANTS = {
    "append": lambda: setattr(work, "project", append_and_then_remember),
    "no-low-water": lambda: setattr(watching, "LOW_WATER", 0),  # not wrong, but lets a disk get full
}


def main(captures: Path, out: Path, mutant: str | None) -> None:
    """Watch until told to stop."""
    if mutant:
        MUTANTS[mutant]()
    bundle, stop = uncalibrated(load_bundle()), Stop()
    patience = Patience(poll=0.05, quiet=0.3, incomplete=60, retry=0.2, page=1)
    with open_ledger(out, bundle) as ledger, stop.on_signals():
        print("ready", flush=True)
        watch = Watch(captures, out, bundle, FakeBackend(), ledger, patience, stop=stop)
        run(watch, stop, lambda watch: None)


if __name__ == "__main__":
    os.nice(5)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
