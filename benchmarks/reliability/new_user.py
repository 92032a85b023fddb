"""The trial of a new user: real crops arrive by cp, rsync and a slow writer; kill -9 in the middle, and a new start.

    python benchmarks/reliability/new_user.py DATA [CROPS]

DATA holds the class folders that splits/pbc.csv was made of; only its part `fit` is used. Prints the output of the
watch.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from shared import ROOT, Trial, finish, new_trial, path_of, rows_of, skip

from cartcls.calibration.split import read_split

FILES = {"monday-1", "monday-2"}


def main(data: Path, count: int) -> None:
    """Copy, kill, start again, and compare the tables with the files."""
    if not shutil.which("rsync"):
        skip("rsync is not installed")
    paths = read_split(ROOT / "splits" / "pbc.csv").paths("fit")
    step = len(paths) // count
    crops = [data / path for path in paths[::step][:count]]
    with new_trial(real=True) as trial:
        one, two = (trial.captures / name for name in sorted(FILES))
        trial.start()
        one.mkdir()
        two.mkdir()
        third = count // 3
        slow = threading.Thread(target=write_slowly, args=(crops[2 * third :], two))
        slow.start()
        subprocess.run(["cp", *map(str, crops[:third]), str(one)], check=True)
        subprocess.run(["rsync", "-a", *map(str, crops[third : 2 * third]), str(two)], check=True)
        trial.until(lambda: len(rows_of(trial)) >= count // 5, "no rows came")
        trial.send(signal.SIGKILL)
        killed = len(rows_of(trial))
        trial.start()
        (one / "broken.jpg").write_bytes(crops[0].read_bytes()[:4000])
        shutil.copy(crops[0], two / "line\nfeed.jpg")
        slow.join()
        trial.until(lambda: len(rows_of(trial)) >= count + 1, "some have no row")
        time.sleep(3)
        trial.send(signal.SIGTERM)
        second = subprocess.run(trial.command("--once"), capture_output=True, text=True, check=False)
        print(trial.log.read_text(), second.stderr, sep="", file=sys.stderr)
        problems = compare(trial)
    finish(
        f"{count} crops by cp, rsync and a slow writer, kill -9 after {killed} rows, a broken file, a name with a"
        f" newline: {len(problems)} problems",
        problems,
    )


def write_slowly(crops: list[Path], folder: Path) -> None:
    """A kilobyte at a time."""
    for crop in crops:
        data = crop.read_bytes()
        with (folder / crop.name).open("wb") as file:
            for first in range(0, len(data), 1024):
                file.write(data[first : first + 1024])
                file.flush()
                time.sleep(0.01)


def compare(trial: Trial) -> list[str]:
    """Where the files and the rows do not match."""
    rows, found = rows_of(trial), []
    there = {
        (folder.name, os.fsencode(file.name)): file for folder in trial.captures.iterdir() for file in folder.iterdir()
    }
    named = Counter((row["slide"], path_of(row)) for row in rows)
    found += [f"{file} has {named[key]} rows" for key, file in there.items() if named[key] != 1]
    found += [f"{key} is no file" for key in named if key not in there]
    for row in rows:
        file = there.get((row["slide"], path_of(row)))
        if file and row["sha256"] != hashlib.sha256(file.read_bytes()).hexdigest():
            found.append(f"{file} has the wrong bytes")
        if (row["status"] == "rejected") != (row["path"] == "broken.jpg"):
            found.append(f"{row['path']} is {row['status']}: {row['reason']}")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200)
