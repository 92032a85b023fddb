"""From a file's last write to its row in the table, with `cartcls watch` itself and the shipped model.

    python benchmarks/reliability/latency.py [FILES] [FILES_PER_SECOND]

Nothing else may run at the same time.
"""

import os
import statistics
import sys
import threading
import time

from shared import Trial, finish, new_trial

QUIET, LIMIT, SOON = 2.0, 1.0, 0.01


def main(files: int, rate: float) -> None:
    """Write files at a rate, and measure when their rows appear."""
    with new_trial(real=True) as trial:
        plain = [*trial.command()[: trial.command().index("--poll")]]  # poll and quiet time as they are shipped
        trial.command = lambda *more: [*plain, *more]
        trial.put(0)
        trial.start()
        trial.until_done()
        delays = measure(trial, files, rate)
        problems = trial.stop()
    median, most = statistics.median(delays), statistics.quantiles(delays, n=20)[-1]
    problems += [f"the median is more than {QUIET + LIMIT} s"] if median > QUIET + LIMIT else []
    finish(
        f"{files} files at {rate:.0f}/s: median {median:.2f} s, 95 % within {most:.2f} s, most {max(delays):.2f} s",
        problems,
    )


def measure(trial: Trial, files: int, rate: float) -> list[float]:
    """Seconds from each file's last write to its row."""
    written: dict[str, float] = {}

    def arrive() -> None:
        started = time.monotonic()
        for number in range(1, files + 1):
            trial.put(number)
            written[f"{number:05d}.jpg"] = time.monotonic()
            time.sleep(max(0.0, started + number / rate - time.monotonic()))

    threading.Thread(target=arrive).start()
    seen: dict[str, float] = {}
    with (trial.out / "captures" / "cells.csv").open("rb") as table:
        table.seek(0, os.SEEK_END)
        begun = b""
        while len(seen) < files:
            now = time.monotonic()
            *lines, begun = (begun + table.read()).split(b"\n")
            seen.update((line.split(b",")[2].decode(), now) for line in lines)
            time.sleep(SOON)
    return [seen[name] - written[name] for name in written]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300, float(sys.argv[2]) if len(sys.argv) > 2 else 10.0)
