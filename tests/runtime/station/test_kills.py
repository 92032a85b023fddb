"""A station and a watch that are killed at any moment lose and double nothing that a reviewer was told is kept."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from station_trial import StationTrial, kill_both_again_and_again


@pytest.fixture
def trial(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StationTrial]:
    watch, station = getattr(request, "param", ("", ""))
    made = StationTrial(tmp_path, *([watch] if watch else []), station=station)
    yield made
    made.end_both()


@pytest.mark.parametrize(
    ("files", "kills"), [(40, 4), pytest.param(200, 40, marks=pytest.mark.slow)], ids=["short", "full"]
)
def test_kill_nine_of_either_loses_and_doubles_no_label(trial: StationTrial, files: int, kills: int):
    kill_both_again_and_again(trial, files, kills)
    assert trial.send(signal.SIGTERM) == 0
    assert trial.reviewer.kept
    assert trial.problems() == []


@pytest.mark.slow
@pytest.mark.parametrize("trial", [("", "early"), ("", "again"), ("forgetful", "")], indirect=True, ids=str)
def test_the_trial_of_kills_finds_a_fault(trial: StationTrial):
    kill_both_again_and_again(trial, 60, 12)
    trial.end_station()  # or it would put in what the watch forgot
    trial.send(signal.SIGTERM)
    assert trial.problems()
