"""Rows 1, 4, 5, 7, 8 and 13 with `cartcls watch` itself and the shipped model: fewer files than with the stub.

python benchmarks/reliability/real.py [ROW...]
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from shared import (
    EXAMPLES,
    LABELLED,
    Trial,
    finish,
    hostile_names,
    kill_again_and_again,
    new_trial,
    odd_images,
    path_of,
    rows_of,
    sleep_through,
    write_in_every_way,
)

Measured = tuple[str, list[str]]
MEMORY, SECONDS_EACH = 1024, 5.0  # the process of the model holds its graph in 8 bits and in float32


def kills(trial: Trial) -> Measured:
    """Row 1."""
    kill_again_and_again(trial, files=600, kills=20, alive=1.0, every=0.1)
    return f"20 × kill -9 while {len(trial.expected)} files arrive", trial.problems()


def writers(trial: Trial) -> Measured:
    """Row 4."""
    trial.start()
    written_over = write_in_every_way(trial, writers=60, chunks=20, seconds=4.0, stall=10.0)
    trial.until_done()
    trial.send(signal.SIGTERM)
    return "60 writers, 20 chunks each, 10 s stall", [
        f"{row['path']} is not by its last bytes"
        for row in trial.rows()
        if row["path"] not in written_over
        and (row["sha256"] != trial.expected[row["path"]] or row["status"] not in LABELLED)
    ]


def sleep(trial: Trial) -> Measured:
    """Row 5."""
    sleep_through(trial, before=20, meanwhile=500)
    return "40 files before and while down, 500 while stopped", trial.problems()


def odd(trial: Trial) -> Measured:
    """Row 7."""
    (trial.captures / "s").mkdir()
    expected = odd_images(trial.captures / "s", EXAMPLES / "cell-01.jpg")
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *trial.command("--once")], capture_output=True, text=True, check=False
    )
    seconds, memory = time.monotonic() - started, int(done.stdout.split()[-1]) >> 10
    rows = rows_of(trial)
    problems = [f"{len(rows)} rows for {len(expected)} images"] if len(rows) != len(expected) else []
    problems += [f"{row['path']} is {row['status']}" for row in rows if not right(row, expected[row["path"]])]
    problems += [f"{memory} MiB"] if memory > MEMORY else []
    problems += ["too slow"] if seconds > SECONDS_EACH * len(expected) else []
    return f"{len(rows)} bad or odd images in {seconds:.0f} s, {memory} MiB at most in one process", problems


MEASURE = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL);"
    " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def right(row: dict[str, str], expected: object) -> bool:
    """Whether an image that must be refused has no label, and one that must be taken has one."""
    return expected is None or bool(row["label"]) != isinstance(expected, str)


def names(trial: Trial) -> Measured:
    """Row 8."""
    hostile = hostile_names()
    folder = os.path.join(os.fsencode(trial.captures), hostile[0])
    os.mkdir(folder)
    for number, name in enumerate(hostile):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(trial.bytes_of(number))
    done = subprocess.run(trial.command("--once"), capture_output=True, check=False)
    rows = rows_of(trial)
    back = {path_of(row) for row in rows}
    problems = [f"{name!r} does not come back" for name in hostile if name not in back]
    problems += [f"{value!r} is a formula" for row in rows for value in row.values() if value[:1] in tuple("=+-@\t\r")]
    log = done.stderr.decode(errors="replace")
    problems += [f"{letter!r} in the log" for letter in set(log) if not letter.isprintable() and letter != "\n"]
    (page,) = trial.out.glob("*/report.html")
    text = page.read_text(encoding="utf-8")
    problems += [f"live {part}" for part in ("<img src=x", "<script>alert", "<svg onload") if part in text]
    return f"{len(hostile)} hostile names", problems


def tables(trial: Trial) -> Measured:
    """Row 13."""
    for number in range(100):
        trial.put(number)
    trial.start()
    trial.until_done()
    problems = trial.stop()
    table = trial.out / "captures" / "cells.csv"
    whole = table.read_bytes()
    lines = whole.splitlines(keepends=True)
    table.write_bytes(b"".join([*lines[:50], lines[50].replace(b"openvino", b"abacus"), *lines[51:]]))
    said = command("verify", trial)
    problems += [] if said.returncode == 1 and "line 51 edited" in said.stdout else [f"verify said {said.stdout}"]
    table.unlink()
    command("rebuild", trial)
    problems += [] if table.read_bytes() == whole else ["the table is another one"]
    return "100 rows, line 51 edited, table deleted and written again", problems


def command(name: str, trial: Trial) -> subprocess.CompletedProcess[str]:
    """One of the commands on the reports."""
    arguments = [sys.executable, "-m", "cartcls.cli", name, str(trial.out)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


ROWS: dict[str, Callable[[Trial], Measured]] = {
    "1": kills,
    "4": writers,
    "5": sleep,
    "7": odd,
    "8": names,
    "13": tables,
}


def main(chosen: list[str]) -> None:
    """Run the chosen rows, or all."""
    lines, problems = [], []
    for row in chosen or ROWS:
        with new_trial(real=True) as trial:
            started = time.monotonic()
            measured, found = ROWS[row](trial)
        lines.append(f"row {row}: {measured}: {len(found)} problems ({time.monotonic() - started:.0f} s)")
        print(lines[-1], file=sys.stderr)
        problems += [f"row {row}: {problem}" for problem in found]
    finish("; ".join(lines), problems)


if __name__ == "__main__":
    main(sys.argv[1:])
