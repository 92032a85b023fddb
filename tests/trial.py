"""A trial of a watch: files arrive in a folder, a process watches it, and what is lost, doubled or wrong is counted."""

import csv
import hashlib
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cartcls.runtime.audit import verify_reports

WATCHER = Path(__file__).with_name("watcher.py")
PATIENCE = 600.0


class Trial:
    """A capture folder, and a process that watches it."""

    def __init__(self, root: Path, cells: list[bytes], mutant: str | None = None):
        self.captures, self.out = root / "captures", root / "out"
        self.captures.mkdir()
        self.cells, self.mutant = cells, mutant
        self.expected: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """What watches."""
        return [sys.executable, str(WATCHER), str(self.captures), str(self.out), *filter(None, [self.mutant])]

    def start(self, before: Sequence[str] = ()) -> None:
        """Begin to watch; `before` is put before the command, such as `strace`."""
        self.end()
        self.process = subprocess.Popen([*before, *self.command()], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout is not None
        self.process.stdout.readline()  # it says when it takes signals

    def send(self, number: signal.Signals) -> int | None:
        """Send a signal; the exit code where it ends the process."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60) if number in (signal.SIGKILL, signal.SIGTERM) else None

    def bytes_of(self, number: int) -> bytes:
        """Bytes of a cell of its own: behind the end marker anything may follow."""
        return self.cells[number % len(self.cells)] + b"%d" % number

    def put(self, number: int) -> None:
        """A whole file under its final name, as a careful microscope would."""
        name, data = f"{number:05d}.jpg", self.bytes_of(number)
        (self.captures / f".{name}").write_bytes(data)
        (self.captures / f".{name}").rename(self.captures / name)
        self.expected[name] = hashlib.sha256(data).hexdigest()

    def rows(self) -> list[dict[str, str]]:
        """Rows of its table."""
        file = self.out / "captures" / "cells.csv"
        if not file.exists():
            return []
        with file.open(newline="", encoding="utf-8") as handle:
            return list(csv.DictReader(handle))

    def until_done(self) -> None:
        """Wait until every file has its row."""
        deadline = time.monotonic() + PATIENCE
        while len(self.rows()) < len(self.expected):
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(
                    f"the watch ended: {self.process.stderr.read().decode() if self.process.stderr else ''}"
                )
            assert time.monotonic() < deadline, f"{len(self.rows())} of {len(self.expected)} rows"
            time.sleep(0.05)

    def problems(self) -> list[str]:
        """What is lost, doubled, torn or wrong."""
        rows = self.rows()
        counts = Counter(row["path"] for row in rows)
        found = [f"{name} is lost" for name in self.expected if not counts[name]]
        found += [f"{name} is there {count} times" for name, count in counts.items() if count > 1]
        found += [
            f"{row['path']} has the wrong bytes"
            for row in rows
            if row["status"] == "ok" and row["sha256"] != self.expected.get(row["path"])
        ]
        found += [f"{row['path']} is {row['status']}: {row['reason']}" for row in rows if row["status"] != "ok"]
        if [row["seq"] for row in rows] != [str(number) for number in range(1, len(rows) + 1)]:
            found.append("the numbers have gaps")
        return found + [str(difference) for slide in verify_reports(self.out) for difference in slide.differences]

    def end(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        self.process = None
