"""The scorecard: a watch that is killed, stopped, and fed by slow writers; each trial has a mutant that it must find.

The short forms run always; the full ones are marked slow.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from trial import WATCHER, Trial


@pytest.fixture(scope="module")
def cells(slide: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(slide.glob("*.jpg"))]


def kill_again_and_again(trial: Trial, files: int, kills: int) -> None:
    """Kill a watch at random while files arrive."""
    chance = random.Random(0)
    arriving = threading.Thread(target=lambda: [trial.put(number) for number in range(files)])
    arriving.start()
    for _ in range(kills):
        trial.start()
        time.sleep(0.6 + chance.random())
        trial.end()
    arriving.join()
    trial.start()
    trial.until_done()
    assert trial.send(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("files", "kills"), [(300, 4), pytest.param(5000, 200, marks=pytest.mark.slow)], ids=["short", "full"]
)
def test_kill_nine_loses_doubles_and_tears_nothing(tmp_path: Path, cells: list[bytes], files: int, kills: int):
    trial = Trial(tmp_path, cells)
    try:
        kill_again_and_again(trial, files, kills)
        assert trial.problems() == []
    finally:
        trial.end()


@pytest.mark.slow
def test_the_trial_of_kills_finds_a_table_that_is_appended_to_blindly(tmp_path: Path, cells: list[bytes]):
    trial = Trial(tmp_path, cells, "append")
    try:
        kill_again_and_again(trial, 2000, 40)
        assert trial.problems()
    finally:
        trial.end()


def write_in_every_way(trial: Trial, writers: int, chunks: int, seconds: float) -> None:
    """Slow writers, some that stall, some that fill a file that they made large first, some that write over."""

    def write(number: int) -> None:
        name, data = f"{number:05d}.jpg", trial.bytes_of(number)
        file = trial.captures / name
        trial.expected[name] = hashlib.sha256(data).hexdigest()
        way = number % 4
        with file.open("wb") as handle:
            if way == 1:
                handle.write(b"\0" * len(data))
                handle.flush()
                handle.seek(0)
            if way == 2:
                handle.write(trial.bytes_of(number + 10_000))  # another cell first, whole
                handle.flush()
                time.sleep(1)
                handle.seek(0)
                handle.truncate()
            size = len(data) // chunks + 1
            for first in range(0, len(data), size):
                handle.write(data[first : first + size])
                handle.flush()
                time.sleep(seconds / chunks * (8 if way == 3 and first == size else 1))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("writers", "chunks", "seconds"),
    [(16, 10, 1.0), pytest.param(200, 50, 10.0, marks=pytest.mark.slow)],
    ids=["short", "full"],
)
def test_no_half_written_file_is_ever_reported(
    tmp_path: Path, cells: list[bytes], writers: int, chunks: int, seconds: float
):
    trial = Trial(tmp_path, cells)
    try:
        trial.start()
        write_in_every_way(trial, writers, chunks, seconds)
        trial.until_done()
        assert trial.send(signal.SIGTERM) == 0
        rows = trial.rows()
        wrong = [row["path"] for row in rows if row["sha256"] != trial.expected[row["path"]]]
        # Another cell that lay there whole for a second was reported, and is superseded when it is looked at again.
        assert all(int(name[:5]) % 4 == 2 for name in wrong)
        assert {row["status"] for row in rows} == {"ok"}
    finally:
        trial.end()


@pytest.mark.parametrize("files", [2000, pytest.param(20_000, marks=pytest.mark.slow)], ids=["short", "full"])
def test_a_watch_that_was_asleep_misses_nothing(tmp_path: Path, cells: list[bytes], files: int):
    trial = Trial(tmp_path, cells)
    try:
        for number in range(5):
            trial.put(number)
        trial.start()
        trial.until_done()
        trial.send(signal.SIGSTOP)
        for number in range(5, files // 20):
            trial.put(number)
            os.utime(trial.captures / f"{number:05d}.jpg", (0, 0))
        trial.send(signal.SIGCONT)
        trial.until_done()
        assert trial.send(signal.SIGTERM) == 0
        assert trial.problems() == []
    finally:
        trial.end()


def test_sigterm_in_the_middle_ends_it_well_and_a_second_watch_is_refused(tmp_path: Path, cells: list[bytes]):
    trial = Trial(tmp_path, cells)
    try:
        for number in range(400):
            trial.put(number)
        trial.start()
        deadline = time.monotonic() + 60
        while not trial.rows() and time.monotonic() < deadline:
            time.sleep(0.02)
        command = [sys.executable, str(WATCHER), str(trial.captures), str(trial.out)]
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "in use by another cartcls" in second.stderr
        started = time.monotonic()
        assert trial.send(signal.SIGTERM) == 0
        assert time.monotonic() - started < 10
        assert 0 < len(trial.rows()) <= 400
        trial.start()
        trial.until_done()
        trial.send(signal.SIGTERM)
        assert trial.problems() == []
    finally:
        trial.end()
