"""A trial of a watch: files arrive in a folder, a process watches it, and what is lost, doubled or wrong is counted."""

import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from cartcls.runtime.reports.rebuild import verify_reports

WATCHER = Path(__file__).with_name("watcher.py")
EXAMPLES = Path(__file__).parents[2] / "examples" / "tests" / "slide-01"
REAL = ("--backend", "openvino", "--poll", "0.2", "--quiet", "0.5")
LABELLED = ("ok", "review")


class Trial:
    """A capture folder, and a process that watches it: a stub in the place of the model, or `cartcls watch` itself.

    Attributes:
        expected: Digest of each file's last bytes, by name.
    """

    def __init__(self, root: Path, *mutants: str, real: bool = False, timings: float = 600.0):
        self.captures, self.out, self.log = root / "captures", root / "out", root / "watch.log"
        self.captures.mkdir()
        self.cells = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.jpg"))]
        self.mutants, self.real, self.timings = mutants, real, timings
        self.expected: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *more: str) -> list[str]:
        """What watches."""
        folders = [os.fspath(self.captures), os.fspath(self.out)]
        if self.real:
            return [sys.executable, "-m", "cartcls.cli", "watch", folders[0], "--out", folders[1], *REAL, *more]
        return [sys.executable, os.fspath(WATCHER), *folders, *self.mutants, *more]

    def start(self, *before: str, environment: dict[str, str] | None = None) -> None:
        """Begin to watch, and return when it does; `before` is put before the command, such as `strace`."""
        self.end()
        with self.log.open("ab") as log:
            said = log.tell()
            command = [*before, *self.command()]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **(environment or {})})
        self.until(lambda: b"watching" in self.log.read_bytes()[said:], "not begun")

    def send(self, number: signal.Signals) -> int | None:
        """Send a signal; the exit code where it ends the process."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(600) if number in (signal.SIGKILL, signal.SIGTERM) else None

    def bytes_of(self, number: int) -> bytes:
        """Bytes of a cell of its own: behind the end marker anything may follow."""
        return self.cells[number % len(self.cells)] + b"%d" % number

    def put(self, number: int, pause: float = 0.0) -> None:
        """A whole file under its final name, as a careful microscope would."""
        name, data = f"{number:05d}.jpg", self.bytes_of(number)
        (self.captures / f".{name}").write_bytes(data)
        (self.captures / f".{name}").rename(self.captures / name)
        self.expected[name] = hashlib.sha256(data).hexdigest()
        time.sleep(pause)

    def rows(self) -> list[dict[str, str]]:
        """Rows of its table."""
        file = self.out / "captures" / "cells.csv"
        if not file.exists():
            return []
        with file.open(newline="", encoding="utf-8-sig") as handle:
            return list(csv.DictReader(handle))

    def size(self) -> int:
        """Bytes of its table."""
        file = self.out / "captures" / "cells.csv"
        return file.stat().st_size if file.exists() else 0

    def until(self, condition, otherwise: str) -> None:  # type: ignore[no-untyped-def]
        """Wait for something.

        Raises:
            AssertionError: The process ended, or the trial's patience did.
        """
        deadline = time.monotonic() + self.timings
        while not condition():
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the watch ended: {self.log.read_text(errors='replace')[-2000:]}")
            assert time.monotonic() < deadline, otherwise
            time.sleep(0.05)

    def until_done(self) -> None:
        """Wait until every file has its row."""
        self.until(lambda: len(self.rows()) >= len(self.expected), f"of {len(self.expected)} files, some have no row")

    def problems(self) -> list[str]:
        """What is lost, doubled, torn or wrong."""
        rows = self.rows()
        counts = Counter(row["path"] for row in rows)
        found = [f"{name} is lost" for name in self.expected if not counts[name]]
        found += [f"{name} is there {count} times" for name, count in counts.items() if count > 1]
        found += [
            f"{row['path']} has the wrong bytes"
            for row in rows
            if row["status"] in LABELLED and row["sha256"] != self.expected.get(row["path"])
        ]
        found += [f"{row['path']} is {row['status']}: {row['reason']}" for row in rows if row["status"] not in LABELLED]
        if [row["seq"] for row in rows] != [str(number) for number in range(1, len(rows) + 1)]:
            found.append("the numbers have gaps")
        return found + [str(difference) for slide in verify_reports(self.out) for difference in slide.differences]

    def stop(self) -> list[str]:
        """End it as a service is ended; what is lost, doubled, torn or wrong then."""
        code = self.send(signal.SIGTERM)
        return ([f"exit code {code}"] if code else []) + self.problems()

    def end(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None


def kill_again_and_again(trial: Trial, files: int, kills: int, alive: float = 0.6, every: float = 0.0) -> None:
    """Row 1: kill a watch at random while files arrive, and then let it finish.

    Args:
        trial: Its folder and process.
        files: How many arrive.
        kills: How often it is killed.
        alive: How long it lives at least, in seconds.
        every: Time between two files, in seconds.
    """
    chance = random.Random(0)
    arriving = threading.Thread(target=lambda: [trial.put(number, every) for number in range(files)])
    arriving.start()
    for _ in range(kills):
        before = trial.size()
        trial.start()
        time.sleep(alive + chance.random())
        trial.until(lambda before=before: trial.size() > before or not arriving.is_alive(), "no row came")
        trial.end()
    arriving.join()
    trial.start()
    trial.until_done()
    assert trial.send(signal.SIGTERM) == 0


def write_in_every_way(trial: Trial, writers: int, chunks: int, seconds: float, stall: float) -> list[str]:
    """Row 4: slow writers; some stall, fill a file that they made large first, rename it in, or write over another.

    Returns:
        Names of the files that held another whole cell first: only these may have had another row for a while.
    """

    def write(number: int) -> None:
        name, data, way = f"{number:05d}.jpg", trial.bytes_of(number), number % 5
        trial.expected[name] = hashlib.sha256(data).hexdigest()
        file = trial.captures / (name if way != 4 else f".{name}.part")
        if way == 2:
            file.write_bytes(trial.bytes_of(number + 10_000))
            time.sleep(1)
        with file.open("wb") as handle:
            if way == 1:
                handle.write(b"\0" * len(data))
                handle.flush()
                handle.seek(0)
            size = len(data) // chunks + 1
            for first in range(0, len(data), size):
                handle.write(data[first : first + size])
                handle.flush()
                time.sleep(stall if way == 3 and first == size else seconds / chunks)
        if way == 4:
            file.rename(trial.captures / name)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [f"{number:05d}.jpg" for number in range(2, writers, 5)]


def sleep_through(trial: Trial, before: int, meanwhile: int) -> None:
    """Row 5: files of any age from before the watch, from while it was down, and from while it was stopped."""
    first, second, third = range(before), range(before, 2 * before), range(2 * before, 2 * before + meanwhile)
    _put_of_any_age(trial, first)
    trial.start()
    _until_last(trial, first)
    trial.end()
    _put_of_any_age(trial, second)
    trial.start()
    _until_last(trial, second)
    trial.send(signal.SIGSTOP)
    _put_of_any_age(trial, third)
    trial.send(signal.SIGCONT)
    _until_last(trial, third)
    assert trial.send(signal.SIGTERM) == 0


def _put_of_any_age(trial: Trial, numbers: range) -> None:
    """Files of 1970, and by clocks that are an hour behind or ahead; the last is the newest, whatever it is told by."""
    for number in numbers:
        trial.put(number)
        when = (0, time.time() - 3600, time.time() + 3600)[2 if number == numbers[-1] else number % 3]
        os.utime(trial.captures / f"{number:05d}.jpg", (when, when))


def _until_last(trial: Trial, numbers: range) -> None:
    """Wait for the row of the last file: rows come in the order of the names."""
    last = f"{numbers[-1]:05d}.jpg"
    trial.until(lambda: last in {row["path"] for row in trial.rows()}, f"{last} has no row")
