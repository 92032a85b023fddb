"""The scorecard: a watch that is killed, stopped, and fed by slow writers; each trial has a mutant that it must find.

The short forms run always; the full ones are marked slow. Rows 2, 3, 6 and 12 are scripts in `benchmarks/reliability/`.
"""

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import pytest
from fakes import FakeBackend
from field_trial import FieldTrial
from trial import LABELLED, Trial, kill_again_and_again, sleep_through, write_in_every_way

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.reports import table
from cartcls.runtime.reports.rebuild import rebuild_reports, verify_reports
from cartcls.runtime.reports.table import Difference


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    prepared = Trial(tmp_path)
    yield prepared
    prepared.end()


@pytest.fixture
def mutated(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Trial]:
    prepared = Trial(tmp_path, request.param)
    yield prepared
    prepared.end()


@pytest.mark.parametrize(
    ("files", "kills"), [(300, 4), pytest.param(5000, 200, marks=pytest.mark.slow)], ids=["short", "full"]
)
def test_kill_nine_loses_doubles_and_tears_nothing(trial: Trial, files: int, kills: int):
    kill_again_and_again(trial, files, kills)
    assert trial.problems() == []


@pytest.mark.parametrize(
    ("files", "kills"), [(60, 4), pytest.param(400, 60, marks=pytest.mark.slow)], ids=["short", "full"]
)
def test_kill_nine_leaves_fields_whole(tmp_path: Path, files: int, kills: int):
    trial = FieldTrial(tmp_path)
    try:
        kill_again_and_again(trial, files, kills)
        assert trial.problems() == []
    finally:
        trial.end()


@pytest.mark.parametrize("mutated", ["later"], indirect=True)
def test_the_trial_of_kills_finds_a_table_that_is_remembered_too_late(mutated: Trial):
    kill_again_and_again(mutated, 300, 4)
    assert mutated.problems()


@pytest.mark.parametrize(
    ("writers", "chunks", "seconds", "stall"),
    [(20, 10, 1.0, 1.0), pytest.param(200, 50, 10.0, 30.0, marks=pytest.mark.slow)],
    ids=["short", "full"],
)
def test_no_half_written_file_is_ever_reported(trial: Trial, writers: int, chunks: int, seconds: float, stall: float):
    trial.start()
    written_over = write_in_every_way(trial, writers, chunks, seconds, stall)
    trial.until_done()
    assert trial.send(signal.SIGTERM) == 0
    assert partial(trial, written_over) == []


@pytest.mark.parametrize("mutated", ["hasty"], indirect=True)
def test_the_trial_of_slow_writers_finds_a_watch_that_does_not_wait(mutated: Trial):
    mutated.start()
    written_over = write_in_every_way(mutated, 20, 10, 1.0, 1.0)
    mutated.until_done()
    assert partial(mutated, written_over)


def partial(trial: Trial, written_over: list[str]) -> list[str]:
    """Files whose row is not by their last bytes; those that held another whole cell first get theirs later."""
    rows = trial.rows()
    wrong = [row["path"] for row in rows if row["sha256"] != trial.expected.get(row["path"])]
    wrong += [row["path"] for row in rows if row["status"] not in LABELLED]
    return [name for name in wrong if name not in written_over]


@pytest.mark.parametrize("files", [1000, pytest.param(20_000, marks=pytest.mark.slow)], ids=["short", "full"])
def test_a_watch_that_was_down_or_asleep_misses_nothing(trial: Trial, files: int):
    sleep_through(trial, 20, files)
    assert trial.problems() == []


@pytest.mark.parametrize("mutated", ["newer"], indirect=True)
def test_the_trial_of_sleep_finds_a_watch_that_trusts_times(mutated: Trial):
    sleep_through(mutated, 20, 100)
    assert mutated.problems()


@pytest.mark.parametrize("seconds", [600, pytest.param(10, marks=pytest.mark.slow)], ids=["short", "full"])
def test_sigterm_in_the_middle_ends_it_well_and_a_second_watch_is_refused(trial: Trial, seconds: float):
    for number in range(400):
        trial.put(number)
    trial.start()
    trial.until(lambda: trial.rows(), "no row came")
    second = subprocess.run(trial.command(), capture_output=True, text=True, check=False)
    assert "in use by another cartcls" in second.stderr
    started = time.monotonic()
    assert trial.send(signal.SIGTERM) == 0
    assert time.monotonic() - started < seconds
    assert 0 < len(trial.rows()) <= 400
    trial.start()
    trial.until_done()
    trial.send(signal.SIGTERM)
    assert trial.problems() == []


@contextmanager
def frozen(trial: Trial) -> Iterator[socket.socket]:
    """Start a watch that freezes; yields where its heartbeats since then are heard."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        address = trial.captures.parent / "notify"
        channel.bind(str(address))
        channel.setblocking(False)
        trial.start(environment={"NOTIFY_SOCKET": str(address)})
        trial.until(lambda: b"WATCHDOG=1" in heard(channel), "it gave no heartbeat")

        def is_frozen() -> bool:
            heard(channel)  # who sends more than the socket holds has to wait
            return b"frozen" in trial.log.read_bytes()

        trial.until(is_frozen, "it never froze")
        heard(channel)
        yield channel


def heard(channel: socket.socket) -> list[bytes]:
    """What was sent since it was last heard."""
    sent = []
    with suppress(BlockingIOError):
        while len(sent) < 1000:
            sent.append(channel.recv(100))
    return sent


@pytest.mark.parametrize("mutated", ["frozen"], indirect=True)
def test_a_frozen_watch_sends_no_heartbeat(mutated: Trial):
    with frozen(mutated) as channel:
        mutated.until(lambda: mutated.log.read_bytes().count(b"frozen") > 20, "it does not run")
        assert not heard(channel)


@pytest.mark.parametrize("mutated", ["frozen-beating"], indirect=True)
def test_the_trial_of_frozen_watches_finds_a_heartbeat_from_a_thread_of_its_own(mutated: Trial):
    with frozen(mutated) as channel:
        mutated.until(lambda: b"WATCHDOG=1" in heard(channel), "no heartbeat came")


def rebuilt_wrongly(trial: Trial) -> list[str]:
    """Row 13: edit a row, delete the table, write it again: what of it is not named, or not as it was."""
    file = trial.out / "captures" / "cells.csv"
    whole, found = file.read_bytes(), []
    lines = whole.decode().splitlines(keepends=True)
    file.write_text("".join([*lines[:7], lines[7].replace(",f32,", ",f16,"), *lines[8:]]))
    ((slide,), edited) = verify_reports(trial.out), Difference(8, "edited", lines[7])
    if slide.differences != [edited]:
        found.append("the edited row was not named")
    file.unlink()
    rebuild_reports(trial.out)
    return found + (["the table is another one"] if file.read_bytes() != whole else [])


def finished(trial: Trial) -> Trial:
    """A trial whose files all have a row."""
    for number in range(40):
        trial.put(number)
    trial.start()
    trial.until_done()
    trial.send(signal.SIGTERM)
    return trial


def test_a_table_is_written_again_byte_for_byte_and_an_edited_row_is_named(trial: Trial):
    assert rebuilt_wrongly(finished(trial)) == []


def test_the_trial_of_tables_finds_one_that_is_made_anew_and_one_that_is_only_counted(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
):
    finished(trial)
    rows, verify = SlideLedger.rows, table.verify
    with monkeypatch.context() as patch:
        patch.setattr(SlideLedger, "rows", lambda self, after=0: reversed(list(rows(self, after))))
        assert rebuilt_wrongly(trial)
    rebuild_reports(trial.out)

    def count(ledger: SlideLedger, bundle: Bundle, file: Path) -> list[Difference]:
        same = len(file.read_text().splitlines()) == len(list(ledger.rows())) + 1
        return [] if same else verify(ledger, bundle, file)

    monkeypatch.setattr("cartcls.runtime.reports.rebuild.verify", count)
    assert rebuilt_wrongly(trial)


def without_provenance(rows: list[dict[str, str]], bundle: Bundle) -> list[str]:
    """Row 14: what of a row's origin is not in it; the bundle's digest stands for model and preprocessing."""
    columns = {
        "sha256": r"[0-9a-f]{64}",
        "bundle": re.escape(bundle.name),
        "bundle_sha256": bundle.sha256,
        "backend": FakeBackend.name,
        "precision": FakeBackend.precision,
        "version": r"\d+\.\d+.*",
        "analysed_at": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    }
    found = [
        f"{name} of {row['path']}: {row.get(name)}"
        for row in rows
        for name, pattern in columns.items()
        if not re.fullmatch(pattern, row.get(name) or "")
    ]
    recorded = json.loads((bundle.directory / "bundle.json").read_text())
    recorded_as = {recorded["files"]["model.onnx"]: r"[0-9a-f]{64}", recorded["preprocessing"]["name"]: r".+-\d+"}
    return found + [
        f"is not told: {value}" for value, pattern in recorded_as.items() if not re.fullmatch(pattern, value)
    ]


def test_every_row_says_where_it_comes_from(trial: Trial, bundle: Bundle):
    before = datetime.now().astimezone()
    rows = finished(trial).rows()
    assert len(rows) == 40
    assert without_provenance(rows, bundle) == []
    assert all(row["sha256"] == trial.expected[row["path"]] for row in rows)
    since = [datetime.fromisoformat(row["analysed_at"].replace("Z", "+00:00")) - before for row in rows]
    assert all(-1 < late.total_seconds() < 600 for late in since)
    for name in ("sha256", "bundle_sha256", "backend", "precision", "version", "analysed_at"):
        assert without_provenance([{**rows[0], name: ""}], bundle)
