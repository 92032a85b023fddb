"""A watch with a stub in the place of the model, in a process that may be killed.

python tests/support/watcher.py CAPTURES OUT [MUTANT...] [--once]

A mutant does one thing wrong, which a trial must find.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.ImageFile
from fakes import FakeBackend, InlinePool, without_checks
from odd_images import as_pillow_does

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.fields.reading import FieldSearch
from cartcls.runtime.fields.scale import mpp_of
from cartcls.runtime.images import decode
from cartcls.runtime.images.discover import find_images
from cartcls.runtime.inference import classifier
from cartcls.runtime.inference.backend import Outputs
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.ledger.records import Cursor
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.reports.table import csv_header, csv_line
from cartcls.runtime.slides import capture, pipeline, service
from cartcls.runtime.slides import slide as work
from cartcls.runtime.slides import watch as watching
from cartcls.runtime.slides.service import Stop, run
from cartcls.runtime.slides.watch import AT_ONCE, Watch, WatchTimings

HOME_DIAMETER = 75.5  # of a red cell in the examples, in pixels
FIELDS: list[FieldSearch] = []
TIMINGS = {"poll": 0.05, "quiet": 0.3, "incomplete": 60.0, "retry": 0.2, "page": 1.0}


def table_lines(ledger: SlideLedger, bundle: Bundle, after: int, begun: bool) -> list[str]:
    """What comes next in a table, as it is to be written."""
    lines = [csv_line(bundle, run, cell) for cell, run in ledger.rows(after)]
    return lines if begun else ["\ufeff" + csv_header(bundle), *lines]


def append_blindly() -> None:
    """Row 1, 2: append and then remember, as most programs do."""

    def append(ledger: SlideLedger, bundle: Bundle, file: Path) -> None:
        cursor = ledger.cursor()
        with file.open("a") as handle:
            handle.writelines(table_lines(ledger, bundle, cursor.seq, begun=bool(cursor.size)))
        ledger.move_cursor(Cursor(ledger.next_seq() - 1, 1, stale=False))

    work.project = append


def remember_later() -> None:
    """Row 1: append, and remember it with the next append."""
    appended: dict[int, int] = {}

    def append(ledger: SlideLedger, bundle: Bundle, file: Path) -> None:
        cursor = ledger.cursor()
        done = appended.get(ledger.slide.id, cursor.seq)
        with file.open("a") as handle:
            handle.writelines(table_lines(ledger, bundle, done, begun=bool(file.stat().st_size)))
        ledger.move_cursor(Cursor(done, 1, stale=False))
        appended[ledger.slide.id] = ledger.next_seq() - 1

    work.project = append


def let_it_get_full() -> None:
    """Not wrong, but needed to fill a small disk."""
    watching.LOW_WATER = 0


def end_when_full() -> None:
    """Row 3: a full disk is an error like any other."""
    watching.LOW_WATER, watching.FULL = 0, ()


def hurry() -> None:
    """Row 4: read what is there, whole or not."""
    TIMINGS.update(quiet=0.0)
    PIL.ImageFile.LOAD_TRUNCATED_IMAGES = True
    decode.HEADER_CHECKS, decode.WHOLE_CHECKS, decode.decode_jpeg = {}, {}, as_pillow_does


def trust_times() -> None:
    """Row 5: take only what is newer than the last look, as programs do that follow events or times."""
    last = time.time()

    def find_newer(folder: Path, excluded: Path, *more: Any, **named: Any) -> Iterator[bytes]:
        nonlocal last
        since, last = last, time.time()
        root = os.fsencode(folder)
        found = find_images(folder, excluded, *more, **named)
        return (path for path in found if os.stat(os.path.join(root, path)).st_mtime >= since)

    capture.find_images = find_newer


def freeze() -> None:
    """Row 11: not wrong, but the third look never ends."""
    looks = 0

    def find(folder: Path, excluded: Path, *more: Any, **named: Any) -> Iterator[bytes]:
        nonlocal looks
        looks += 1
        while looks > 2:
            print("frozen", flush=True)
            time.sleep(0.05)
        return find_images(folder, excluded, *more, **named)

    capture.find_images = find


def freeze_and_beat_on() -> None:
    """Row 11: the heartbeat comes from a thread of its own, whatever the watch does."""
    freeze()

    def beat() -> None:
        while True:
            service.notify_systemd("WATCHDOG=1")
            time.sleep(0.05)

    threading.Thread(target=beat, daemon=True).start()


def leak() -> None:
    """Row 12: keep each batch, and a file open for it."""
    kept: list[object] = []
    infer = FakeBackend.infer

    def keep(self: FakeBackend, images: npt.NDArray[np.uint8]) -> Outputs:
        kept.extend([images.copy(), open(os.devnull)])  # noqa: SIM115
        return infer(self, images)

    FakeBackend.infer = keep


def look_without_a_pause() -> None:
    """Row 6: look again at once."""
    watching.COST_FACTOR = 0
    TIMINGS.update(poll=0.0)


def forget_reviews() -> None:
    """Leave the corrections that a station inserts to whoever has the ledger next."""
    SlideLedger.take_corrections = lambda self: set()


def search_fields() -> None:
    """Not wrong: files are whole fields."""
    FIELDS.append(FieldSearch(mpp_of(HOME_DIAMETER)))


def one_thread() -> None:
    """Not wrong: every system call comes in the same order each time."""
    pipeline.ThreadPoolExecutor = classifier.ThreadPoolExecutor = InlinePool


MUTANTS: dict[str, Callable[[], None]] = {
    "append": append_blindly,
    "later": remember_later,
    "no-low-water": let_it_get_full,
    "full-is-fatal": end_when_full,
    "hasty": hurry,
    "newer": trust_times,
    "frozen": freeze,
    "frozen-beating": freeze_and_beat_on,
    "leak": leak,
    "no-pause": look_without_a_pause,
    "forgetful": forget_reviews,
    "one-thread": one_thread,
    "fields": search_fields,
}


def main(captures: Path, out: Path, mutants: list[str], once: bool) -> None:
    """Watch until told to stop, or, once, what is there."""
    for mutant in mutants:
        MUTANTS[mutant]()
    bundle, stop = without_checks(load_bundle()), Stop()
    with open_ledger(out, bundle, command="watch") as ledger, stop.on_signals():
        print("watching", flush=True)
        timings = AT_ONCE if once else WatchTimings(**TIMINGS)
        model = Classifier(bundle, FakeBackend(), fields=FIELDS[0] if FIELDS else None)
        watch = Watch(captures, out, model, ledger, timings, notify=notify, stop=stop)
        run(watch, stop, lambda watch: None, once)


def notify(line: str) -> None:
    """Say a line where a trial can read it."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.nice(5)
    options = sys.argv[3:]
    main(Path(sys.argv[1]), Path(sys.argv[2]), [name for name in options if name in MUTANTS], "--once" in options)
