"""Runs a watch as a service: until it is stopped, with a heartbeat for systemd while it makes progress."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import OutputError
from .watch import Watch

HEARTBEAT = 10.0  # seconds between two of them, at most, while there is nothing to do
PAGES_SECONDS = 4.0  # for pages, of the ten seconds that a stop may take


class Stop:
    """A flag that SIGTERM or SIGINT sets, checked between batches."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        """Whether it is set."""
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until it is set."""
        self._event.wait(seconds)

    def set(self) -> None:
        """Set it."""
        self._event.set()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT set it; a second one ends the process as usual."""

        def handle(number: int, frame: FrameType | None) -> None:
            self.set()
            signal.signal(number, before[signal.Signals(number)])

        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(watch: Watch, stop: Stop, show: Callable[[Watch], None], once: bool = False) -> None:
    """Watch until stopped, or, with `once`, until no image waits.

    Args:
        watch: What to watch.
        stop: When to stop; the batch in progress is finished first.
        show: Called after each step.
        once: Whether to end when every image there has a row.

    Raises:
        BackendError: The backend failed.
        OutputError: The folder of a report is taken, or, with `once`, the disk is full, or there is nothing to watch.
        OSError: A report cannot be written.
    """
    notify_systemd("READY=1")
    try:
        while not stop():
            done = watch.step()
            notify_systemd("WATCHDOG=1")  # after a step, so that one which hangs is noticed
            show(watch)
            if once and watch.full:
                raise OutputError("there is no room for the reports: free some space, or choose another --out")
            if once and watch.away:
                raise OutputError(f"{watch.away}: run it again when it is back")
            if once and not done:
                break
            if not done:
                stop.wait(min(watch.pause(), HEARTBEAT))
    finally:
        notify_systemd("STOPPING=1")
        watch.finish(float("inf") if once else PAGES_SECONDS)
        show(watch)


def notify_systemd(state: str) -> None:
    """Send a state to systemd (`sd_notify`), if it set `NOTIFY_SOCKET`."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as channel:
        try:
            channel.connect(address)
            channel.sendall(state.encode())
        except OSError:
            pass  # a service must not end because nobody listens
