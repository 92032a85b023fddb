"""The whole scorecard, one line per row: tests of the suite with their mutants, and the scripts beside this one.

    make reliability [DATA=cells/]

Nothing else may run at the same time. Only the trial of a new user needs DATA, the class folders that splits/pbc.csv
was made of. It takes about an hour and a half.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from shared import EXIT_SKIPPED, ROOT

HERE = Path(__file__).parent
RELIABILITY, HOSTILE = "slides/test_reliability.py", "slides/test_hostile.py"
IMAGES = tuple(f"images/test_{part}.py" for part in ("decode", "jpeg", "tiff", "written", "colors", "formats"))
ROWS: dict[str, Sequence[str]] = {
    "1 kill -9": (RELIABILITY, "-k", "kill"),
    "2 faults at every system call": ("faults.py",),
    "2 the same, with fields": ("faults.py", "4", "--fields"),
    "3 full disk": ("full_disk.py",),
    "4 slow writers": (RELIABILITY, "-k", "half_written or slow_writers"),
    "5 down, asleep, away, clocks": (RELIABILITY, "slides/test_watch.py", "-k", "asleep or sleep or away or clock"),
    "6 100,000 known files": ("many_files.py",),
    "7 bad and odd images": (HOSTILE, *IMAGES, "-k", "not names"),
    "8 hostile names": (HOSTILE, "-k", "names"),
    "9 bundle": ("bundle/test_bundle.py",),
    "10 faults of the backend": ("inference/test_worker.py",),
    "11 SIGTERM, second instance, frozen": (
        RELIABILITY,
        "slides/test_service.py",
        "-k",
        "sigterm or frozen or service",
    ),
    "12 soak": ("soak.py",),
    "13 rebuild, verify": (RELIABILITY, "reports/test_table.py", "reports/test_rebuild.py", "-k", "table or rebuild"),
    "14 provenance": (RELIABILITY, "-k", "where_it_comes_from"),
    "1, 4, 5, 7, 8, 13 with the shipped model": ("real.py",),
    "a new user": ("new_user.py",),
    "from the last write to the row": ("latency.py",),
}


def main(data: str) -> None:
    """Run every row, and end with 1 where one fails."""
    failed = False
    for row, arguments in ROWS.items():
        started = time.monotonic()
        done = subprocess.run(command(arguments, data), capture_output=True, text=True, check=False, cwd=ROOT)
        verdict = {0: "passed", EXIT_SKIPPED: "skipped"}.get(done.returncode, "FAILED")
        failed |= verdict == "FAILED"
        last = (done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or [""])[-1]
        print(f"{verdict}  {row}: {last} ({time.monotonic() - started:.0f} s)", flush=True)
        if verdict == "FAILED":
            print(done.stderr[-3000:] or done.stdout[-3000:], file=sys.stderr)
    raise SystemExit(failed)


def command(arguments: Sequence[str], data: str) -> list[str]:
    """A script beside this one, or tests of the suite, the slow ones too."""
    if arguments[0] == "new_user.py":
        return [sys.executable, str(HERE / arguments[0]), data] if data else ["sh", "-c", NO_DATA]
    if arguments[0].endswith(".py") and "/" not in arguments[0]:
        return [sys.executable, str(HERE / arguments[0])]
    tests = (f"tests/runtime/{argument}" if argument.endswith(".py") else argument for argument in arguments)
    return [sys.executable, "-m", "pytest", "-q", *tests]


NO_DATA = f"echo 'skipped: name the class folders with DATA='; exit {EXIT_SKIPPED}"


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
