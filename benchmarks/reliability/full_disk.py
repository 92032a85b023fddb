"""Row 3: the disk of the reports becomes full, stays so for a while, and is freed.

    python benchmarks/reliability/full_disk.py

Needs root, to mount a small tmpfs. The mutant that treats a full disk like any other error must be found.
"""

import os
import subprocess
import time

from shared import Trial, finish, new_trial, skip

SMALL, LARGE, FILES, SECONDS_FULL = "4m", "256m", 600, 10


def main() -> None:
    """Fill it, free it, and count."""
    if os.getuid():
        skip("only root may mount a tmpfs")
    with new_trial("no-low-water") as trial:
        problems, rows, seconds = fill_and_free(trial)
    with new_trial("full-is-fatal", timings=60) as trial:
        try:
            fill_and_free(trial)
            found = "the mutant that ends was NOT found"
            problems.append(found)
        except AssertionError:
            found = "the mutant that ends was found"
    if seconds > 10:
        problems.append("it took more than 10 s to continue")
    measured = f"full after {rows} rows of {FILES}, for {SECONDS_FULL} s; continued {seconds:.1f} s after it was freed"
    finish(f"{measured}; {len(problems)} problems; {found}", problems)


def fill_and_free(trial: Trial) -> tuple[list[str], int, float]:
    """The problems, the rows when the disk was full, and how long it took to continue, in seconds."""
    trial.out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(trial.out)], check=True)
    try:
        for number in range(FILES):
            trial.put(number)
        trial.start()
        trial.until(lambda: b"until there is room" in trial.log.read_bytes(), "it never became full")
        time.sleep(SECONDS_FULL)
        rows = len(trial.rows())
        subprocess.run(["mount", "-o", f"remount,size={LARGE}", str(trial.out)], check=True)
        freed = time.monotonic()
        trial.until(lambda: len(trial.rows()) > rows, "it did not continue")
        seconds = time.monotonic() - freed
        trial.until_done()
        return trial.stop(), rows, seconds
    finally:
        trial.end()
        subprocess.run(["umount", str(trial.out)], check=True)


if __name__ == "__main__":
    main()
