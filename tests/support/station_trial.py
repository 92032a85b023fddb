"""A trial of a watch and a station: both are killed while files arrive and a reviewer labels cells."""

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from reviewing import Reviewer
from trial import Trial

from cartcls.runtime.ledger.folder import existing_ledger
from cartcls.runtime.ledger.records import OTHER
from cartcls.runtime.reports.rebuild import verify_reports

STATION = Path(__file__).with_name("reviewing.py")


class StationTrial(Trial):
    """A watch, a station beside it, and a reviewer."""

    def __init__(self, root: Path, *mutants: str, station: str = ""):
        super().__init__(root, *mutants)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.fault = [station] if station else []
        self.station: subprocess.Popen[str] | None = None
        self.link, self.said = "", root / "station.log"
        self.reviewer = Reviewer(f"http://127.0.0.1:{self.port}", lambda: self.link)

    def start_station(self) -> None:
        """Begin to serve, and return when it does."""
        command = [sys.executable, os.fspath(STATION), os.fspath(self.out), str(self.port), *self.fault]
        with self.said.open("a") as said:
            self.station = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
        assert self.station.stdout is not None
        self.link = self.station.stdout.readline().strip()
        assert self.link, self.said.read_text()[-2000:]

    def is_kept(self, before: int) -> bool:
        """Whether more labels are kept than before.

        Raises:
            AssertionError: The station ended by itself.
        """
        assert self.station is not None
        assert self.station.poll() is None, f"the station ended: {self.said.read_text()[-2000:]}"
        return len(self.reviewer.kept) > before

    def end_station(self) -> None:
        """Kill it."""
        if self.station is not None:
            self.station.kill()
            self.station.wait()
            assert self.station.stdout is not None
            self.station.stdout.close()
        self.station = None

    def end_both(self) -> None:
        """Kill both."""
        self.end()
        self.end_station()

    def problems(self) -> list[str]:
        """What is lost, doubled, or not as the reviewer said last."""
        kept, last = self.reviewer.kept, {seq: label for label, seq in self.reviewer.kept.items()}
        with existing_ledger(self.out) as (ledger, _):
            (slide,) = ledger.slides()
            made = Counter(correction.to_label for correction in slide.corrections())
        found = [f"{label} is lost" for label in kept if not made[label]]
        found += [f"{label} is there {count} times" for label, count in made.items() if count > 1]
        rows = {int(row["seq"]): row for row in self.rows()}
        found += [
            f"no. {seq} is {rows[seq]['label']}, not {label}"
            for seq, label in last.items()
            if rows[seq]["label"] not in (label, self.reviewer.asked)
        ]
        paths = Counter(row["path"] for row in rows.values())
        found += [f"{name} is there {paths[name]} times" for name in self.expected if paths[name] != 1]
        found += [
            f"{row['path']} has the wrong bytes" for row in rows.values() if row["sha256"] != self.expected[row["path"]]
        ]
        differences = [str(difference) for slide in verify_reports(self.out) for difference in slide.differences]
        return [*self.reviewer.wrong, *found, *differences]


def kill_both_again_and_again(trial: StationTrial, files: int, kills: int, alive: float = 0.3) -> None:
    """Kill watch, station, or both at random while files arrive and cells are labelled; then let both finish.

    Args:
        trial: Its folder and processes.
        files: How many arrive.
        kills: How often one is killed.
        alive: How long both live at least, in seconds.
    """
    chance = random.Random(0)
    trial.put(0)
    trial.start()
    trial.until_done()
    trial.start_station()
    arriving = threading.Thread(target=lambda: [trial.put(number, 0.05) for number in range(1, files)])
    reviewing = threading.Thread(target=trial.reviewer.work)
    arriving.start()
    reviewing.start()
    try:
        for _ in range(kills):
            before = len(trial.reviewer.kept)
            time.sleep(alive + chance.random())
            trial.until(lambda before=before: trial.is_kept(before), "no label was kept")
            victims = chance.choice([("watch",), ("station",), ("station",), ("watch", "station")])
            if "watch" in victims:
                trial.start()  # which ends the one before
            if "station" in victims:
                trial.end_station()
                trial.start_station()
        arriving.join()
    finally:
        trial.reviewer.stopping.set()
        reviewing.join()
    trial.until_done()
    labels = {row["label"] for row in trial.rows()}
    trial.until(
        lambda: _is_shown(trial) or bool(trial.fault or trial.mutants), f"labels are not in the table: {labels}"
    )


def _is_shown(trial: StationTrial) -> bool:
    """Whether the table has the last label of each cell."""
    last = {seq: label for label, seq in trial.reviewer.kept.items()}
    rows = {int(row["seq"]): row["label"] for row in trial.rows()}
    return all(rows.get(seq) in (label, trial.reviewer.asked) for seq, label in last.items() if label.startswith(OTHER))
