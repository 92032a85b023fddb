import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cartcls.runtime.errors import OutputError
from cartcls.runtime.slides import service
from cartcls.runtime.slides.service import Stop, notify_systemd, run


class FakeWatch:
    """Does so much at each step."""

    def __init__(self, *done: int, stop: Stop | None = None):
        self.done, self.stop, self.finished, self.paused = list(done), stop, False, 0
        self.full, self.away = False, ""

    def step(self) -> int:
        if not self.done:
            assert self.stop is not None
            self.stop.set()
            return 0
        return self.done.pop(0)

    def pause(self) -> float:
        self.paused += 1
        return 0.0

    def finish(self, seconds: float) -> None:
        self.finished = True


def go(watch: FakeWatch, stop: Stop, once: bool = False) -> list[Any]:
    shown: list[Any] = []
    run(watch, stop, shown.append, once)  # type: ignore[arg-type]
    return shown


def test_it_goes_on_without_a_pause_while_there_is_work(monkeypatch: pytest.MonkeyPatch):
    stop = Stop()
    watch = FakeWatch(3, 2, 0, 1, stop=stop)
    assert len(go(watch, stop)) == 6
    assert (watch.finished, watch.paused) == (True, 2)


def test_once_with_no_room_is_an_error():
    watch = FakeWatch(0)
    watch.full = True
    with pytest.raises(OutputError, match="no room for the reports"):
        go(watch, Stop(), once=True)


def test_once_with_no_folder_to_look_at_is_an_error():
    watch = FakeWatch(0)
    watch.away = "captures is not there (Host is down)"
    with pytest.raises(OutputError, match=r"Host is down\): run it again"):
        go(watch, Stop(), once=True)


def test_the_heartbeat_goes_on_in_a_pause_of_any_length(monkeypatch: pytest.MonkeyPatch):
    told: list[object] = []
    monkeypatch.setattr(service, "notify_systemd", told.append)
    monkeypatch.setattr(Stop, "wait", lambda stop, seconds: told.append(seconds))
    stop = Stop()
    watch = FakeWatch(0, 0, 0, stop=stop)
    monkeypatch.setattr(watch, "pause", lambda: 900.0)  # after a look that took a minute and a half
    go(watch, stop)
    assert told[1:-1] == ["WATCHDOG=1", 10.0] * 4


def test_once_ends_when_nothing_is_left():
    watch = FakeWatch(3, 2, 0, 7)
    go(watch, Stop(), once=True)
    assert (watch.finished, watch.done) == (True, [7])


def test_reports_are_finished_also_after_an_error():
    class Broken(FakeWatch):
        def step(self) -> int:
            raise OSError(28, "No space left on device")

    watch = Broken()
    with pytest.raises(OSError, match="No space left"):
        go(watch, Stop())
    assert watch.finished


SIGNALLED = """
import os, signal, sys
from cartcls.runtime.slides.service import Stop
number, stop = signal.Signals(int(sys.argv[1])), Stop()
before = signal.getsignal(number)
with stop.on_signals():
    os.kill(os.getpid(), number)
    assert stop()
    assert signal.getsignal(number) == before
assert signal.getsignal(number) == before
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_a_second_one_is_the_usual(number: signal.Signals):
    """In a process of its own: the libraries that other tests load have their own ideas about signals."""
    subprocess.run([sys.executable, "-c", SIGNALLED, str(int(number))], check=True)


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool):
    name = f"@cartcls-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("\0" + name[1:] if abstract else name)
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        stop = Stop()
        go(FakeWatch(1, stop=stop), stop)
        told = [channel.recv(100) for _ in range(4)]
    assert told == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_nobody_listening_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    notify_systemd("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify_systemd("READY=1")


def test_a_step_that_hangs_sends_no_heartbeat(monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    monkeypatch.setattr(service, "notify_systemd", told.append)

    class Hanging(FakeWatch):
        def step(self) -> int:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        go(Hanging(), Stop())
    assert "WATCHDOG=1" not in told
