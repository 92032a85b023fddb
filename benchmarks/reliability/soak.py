"""Row 12: a watch for ten minutes at 50 files/s: memory, open files and the ledger's journal.

    python benchmarks/reliability/soak.py [SECONDS] [FILES_PER_SECOND]

The mutant that leaks memory and open files must be found.
"""

import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from shared import Trial, finish, new_trial

WARM_UP, EVERY, MUTANT_SECONDS = 0.2, 1.0, 60.0
GROWTH, DESCRIPTORS, JOURNAL = 50 * 1024**2, 2, 64 * 1024**2


@dataclass(frozen=True)
class Sample:
    """The resources of a watch at one time: bytes of memory, open files, bytes of journal."""

    memory: int
    descriptors: int
    journal: int


def main(seconds: float, rate: float) -> None:
    """Soak, count, and soak the mutant for a minute."""
    with new_trial() as trial:
        samples, files = soak(trial, seconds, rate)
        trial.until_done()
        problems = trial.stop()
    growth = samples[-1].memory - samples[0].memory
    problems += excesses(samples)
    with new_trial("leak") as trial:
        mutant = excesses(soak(trial, MUTANT_SECONDS, rate)[0])
    problems += [] if mutant else ["the leak was NOT found"]
    open_files = [sample.descriptors for sample in samples]
    finish(
        f"{files} files in {seconds:.0f} s: memory {growth / 2**20:+.0f} MiB after warm-up, to"
        f" {samples[-1].memory >> 20} MiB; {min(open_files)} to {max(open_files)} open files; journal up to"
        f" {max(sample.journal for sample in samples) / 2**20:.1f} MiB; {len(problems)} problems; the leak was"
        f" found by: {', '.join(mutant)}",
        problems,
    )


def soak(trial: Trial, seconds: float, rate: float) -> tuple[list[Sample], int]:
    """Samples from after the warm-up on, and how many files came."""
    trial.start()
    ended = threading.Event()

    def arrive() -> None:
        started, number = time.monotonic(), 0
        while not ended.is_set():
            trial.put(number)
            number += 1
            ended.wait(max(0.0, started + number / rate - time.monotonic()))

    arriving = threading.Thread(target=arrive)
    arriving.start()
    try:
        time.sleep(WARM_UP * seconds)
        samples, end = [], time.monotonic() + (1 - WARM_UP) * seconds
        while time.monotonic() < end:
            samples.append(sample(trial))
            time.sleep(EVERY)
    finally:
        ended.set()
        arriving.join()
    return samples, len(trial.expected)


def sample(trial: Trial) -> Sample:
    """Its resources now."""
    assert trial.process is not None
    here = Path(f"/proc/{trial.process.pid}")
    memory = int((here / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    journal = trial.out / "ledger.sqlite-wal"
    return Sample(memory, len(list((here / "fd").iterdir())), journal.stat().st_size if journal.exists() else 0)


def excesses(samples: list[Sample]) -> list[str]:
    """What grew too much from the first fifth to the last: one sample alone may coincide with an update of a page."""
    fifth = max(1, len(samples) // 5)
    first, last = samples[:fifth], samples[-fifth:]
    growth = min(sample.memory for sample in last) - min(sample.memory for sample in first)
    more = min(sample.descriptors for sample in last) - min(sample.descriptors for sample in first)
    found = [f"memory grew by {growth >> 20} MiB"] if growth > GROWTH else []
    found += [f"{more} more files are open"] if more > DESCRIPTORS else []
    return found + (["the journal is too large"] if any(sample.journal > JOURNAL for sample in samples) else [])


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0, float(sys.argv[2]) if len(sys.argv) > 2 else 50.0)
