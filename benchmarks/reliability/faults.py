"""Row 2: SIGKILL, a full disk and a failing one at every system call that writes, and each time a clean start after it.

    python benchmarks/reliability/faults.py [FILES] [--fields]

Needs strace. The mutant that appends blindly must be found. With --fields, the files are whole fields.
"""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import cpu_count

from shared import Trial, finish, new_trial, skip

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "ftruncate")
FAULTS = ("signal=KILL", "error=ENOSPC", "error=EIO")
SETTINGS = ("one-thread", "no-low-water")


def main(files: int, fields: bool) -> None:
    """Try every call with every fault, and then the mutant until it is found."""
    if not shutil.which("strace"):
        skip("strace is not installed")
    counts = {call: count(call, files, fields) for call in CALLS}
    places = [(call, number, fault) for fault in FAULTS for call in CALLS for number in range(1, counts[call] + 1)]
    places = [place for place in places if place[2] != "error=EIO" or "sync" in place[0]]
    with ThreadPoolExecutor(cpu_count()) as pool:
        problems = [problem for found in pool.map(partial(try_one, files, fields), places) for problem in found]
    kills = [place for place in places if place[2] == "signal=KILL" and place[0] == "pwrite64"]
    mutant = next((place for place in kills if try_one(files, fields, place, "append")), None)
    found = f"the blind append was found at {mutant[0]} {mutant[1]}" if mutant else "the blind append was NOT found"
    calls = ", ".join(f"{number} {call}" for call, number in counts.items())
    finish(
        f"{len(places)} faults at {calls}: {len(problems)} problems; {found}", problems + ([] if mutant else [found])
    )


def count(call: str, files: int, fields: bool) -> int:
    """How often a watch of some files makes a system call."""
    with new_trial(*SETTINGS, fields=fields) as trial:
        prepare(trial, files)
        log = trial.captures.parent / "strace"
        run(trial, "strace", "-f", "-qq", "-e", f"trace={call}", "-o", str(log))
        return sum(f" {call}(" in line for line in log.read_text(errors="replace").splitlines())


def try_one(files: int, fields: bool, place: tuple[str, int, str], *mutants: str) -> list[str]:
    """One fault, and then a clean start; what is then lost, duplicated or incomplete."""
    call, number, fault = place
    with new_trial(*SETTINGS, *mutants, fields=fields) as trial:
        prepare(trial, files)
        inject = f"inject={call}:{fault}:when={number}"
        run(trial, "strace", "-f", "-qq", "-e", f"trace={call}", "-e", inject, "-o", "/dev/null")
        after = run(trial)
        found = trial.problems() if after.returncode == 0 else [after.stderr[-500:]]
        return [f"{fault} at {call} {number}: {problem}" for problem in found]


def prepare(trial: Trial, files: int) -> None:
    """Write all files."""
    for number in range(files):
        trial.put(number)


def run(trial: Trial, *before: str) -> subprocess.CompletedProcess[str]:
    """Watch once, with a command before it."""
    return subprocess.run([*before, *trial.command("--once")], capture_output=True, text=True, check=False, timeout=300)


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--fields"]
    main(int(given[0]) if given else 6, "--fields" in sys.argv)
