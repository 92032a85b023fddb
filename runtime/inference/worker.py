"""A backend in a child process, for a service: it recovers from failures, or raises a clear error.

Drivers hang, GPUs run out of memory or fall off the bus, and a CUDA error stays for as long as its process. So the
process is restarted; if memory runs out, batches get smaller; cells with not-a-number are recomputed in float32 on the
CPU.
"""

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..errors import BackendError, CartclsError, OutOfMemoryError
from .backend import Backend, Outputs, Progress, backend_error, no_progress
from .choose import open_backend
from .openvino_backend import F32, OpenVINOBackend

Notify = Callable[[str], None]
Open = Callable[[Notify, Progress], Backend]

TRIES = 3
ANSWER_SECONDS = 30.0  # a batch takes one second on a slow CPU
SLOWER = 4  # times the longest answer so far is not a hang yet
OPENING_SECONDS = 600.0  # without any message: building an engine sends some
CLOSING_SECONDS = 5.0


@dataclass(frozen=True)
class _Ready:
    name: str
    device: str
    precision: str
    batch_size: int = field(compare=False)  # smaller where memory is short


class ChildBackend:
    """A backend in a child process.

    Attributes:
        batch_size: Becomes smaller when memory runs out.
    """

    batches_at_once = 1

    def __init__(
        self,
        open_child: Open,
        open_float32: Callable[[], Backend],
        notify: Notify = lambda line: None,
        progress: Progress = no_progress,
        answer_seconds: float = ANSWER_SECONDS,
        alive: Callable[[], None] = lambda: None,
    ):
        """Start the process and load the model there.

        Args:
            open_child: Called there, with functions for messages and progress. It must be picklable.
            open_float32: Called here, for a backend that computes in float32 on the CPU, at the first not-a-number.
            notify: Called with messages for the user.
            progress: See `cartcls.runtime.inference.choose.open_backend`; called before this returns, and never later.
            answer_seconds: How long a batch may take; longer on a machine that was slower before.
            alive: Called at each message of the process, so also while it builds an engine.

        Raises:
            CartclsError: What `open_child` raised.
        """
        self._open_child, self._open_float32 = open_child, open_float32
        self._notify, self._progress, self._answer_seconds, self._alive = notify, progress, answer_seconds, alive
        self._slowest = 0.0
        self._sender: threading.Thread | None = None
        self._float32: Backend | None = None
        self._ready = ready = self._start()
        self._progress = no_progress  # whoever shows it has ended
        self.name, self.device, self.precision = ready.name, ready.device, ready.precision
        self.batch_size = ready.batch_size

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3); cells with not-a-number are recomputed on the CPU.

        Raises:
            BackendError: The process was restarted several times, and failed each time.
        """
        outputs = self._with_retries(images)
        wrong = np.asarray(~np.isfinite(outputs.logits).all(1))
        if not wrong.any():
            return outputs
        self._notify(f"{self.name} gave not-a-number for {wrong.sum()} cells: recomputed on the CPU")
        self._float32 = self._float32 or self._open_float32()
        return outputs.replaced(wrong, self._float32.infer(images[wrong]))

    def close(self) -> None:
        """End the process, which closes its backend if that takes no longer than some seconds."""
        if not self._is_sending():
            with suppress(OSError):
                self._connection.send(None)
        self._process.join(CLOSING_SECONDS)
        self._end()
        if self._float32:
            self._float32.close()

    def _with_retries(self, images: npt.NDArray[np.uint8]) -> Outputs:
        problem = BackendError("not tried")
        for number in range(TRIES):
            try:
                return self._ask(images, 2**number * max(self._answer_seconds, SLOWER * self._slowest))
            except OutOfMemoryError as error:
                if len(images) > 1:
                    self.batch_size = half = (len(images) + 1) // 2
                    self._notify(f"{error}: continuing with batches of {half}")
                    return Outputs.joined([self._with_retries(images[:half]), self._with_retries(images[half:])])
                problem = error
            except BackendError as error:
                problem = error
            self._notify(f"{problem}: restarting the process")
            self._end()
            if self._start() != self._ready:
                raise BackendError(f"{self.name} on {self.device} cannot be used any more")
        raise problem

    def _ask(self, images: npt.NDArray[np.uint8], seconds: float) -> Outputs:
        started = time.monotonic()
        self._sender = _in_thread(partial(_send, self._connection, images))
        outputs = self._receive(seconds)
        self._slowest = max(self._slowest, time.monotonic() - started)
        return outputs

    def _start(self) -> _Ready:
        context = multiprocessing.get_context("spawn")
        self._connection, child_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._open_child, child_end), daemon=True)
        self._process.start()
        child_end.close()
        self._messages = SimpleQueue[tuple[str, Any]]()
        self._listener = _in_thread(partial(_listen, self._connection, self._messages))
        try:
            return self._receive(OPENING_SECONDS)
        except BaseException:
            self._end()
            raise

    def _receive(self, seconds: float) -> Any:
        """Wait for the next answer; messages and progress before it are passed on."""
        while True:
            try:
                kind, value = self._messages.get(timeout=seconds)
            except Empty:
                raise BackendError(f"the model's process has not answered for {seconds:.0f} s") from None
            self._alive()
            if kind == "ended":
                self._process.join()
                raise BackendError(f"the model's process has ended (exit code {self._process.exitcode})")
            if kind == "error":
                raise value
            if kind == "answer":
                return value
            if kind == "line":
                self._notify(value)
            else:
                self._progress(*value)

    def _is_sending(self) -> bool:
        return self._sender is not None and self._sender.is_alive()

    def _end(self) -> None:
        self._process.kill()
        self._process.join()
        for thread in (self._listener, self._sender):  # they end with the process at the other end
            if thread is not None:
                thread.join()
        self._connection.close()


# The connection has no time limits: a process that was stopped takes and gives nothing, so threads wait for it.


def _in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _send(connection: Connection, images: npt.NDArray[np.uint8]) -> None:
    with suppress(OSError):  # the listener tells that the process has ended
        connection.send(images)


def _listen(connection: Connection, messages: "SimpleQueue[tuple[str, Any]]") -> None:
    try:
        while True:
            messages.put(connection.recv())
    except (EOFError, OSError):
        messages.put(("ended", None))


def open_in_child(
    bundle: Bundle,
    name: str,
    notify: Notify = lambda line: None,
    progress: Progress = no_progress,
    build: bool = True,
    alive: Callable[[], None] = lambda: None,
) -> ChildBackend:
    """Load a bundle's graph in a child process; see `cartcls.runtime.inference.choose.open_backend`."""
    open_it, open_float32 = partial(_open, bundle, name, build), partial(_open_float32, bundle)
    return ChildBackend(open_it, open_float32, notify, progress, alive=alive)


def _open(bundle: Bundle, name: str, build: bool, notify: Notify, progress: Progress) -> Backend:
    return open_backend(bundle, name, notify, progress, build)


def _open_float32(bundle: Bundle) -> Backend:
    return OpenVINOBackend(bundle.model, F32)


def _serve(open_child: Open, connection: Connection) -> None:
    """Main function of the process: load the model and answer, until the connection is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the service handles them, and still needs answers
        signal.signal(number, signal.SIG_IGN)
    backend: Backend | None = None

    def load() -> _Ready:
        nonlocal backend
        backend = open_child(
            lambda line: connection.send(("line", line)),
            lambda phase, step, steps: connection.send(("progress", (phase, step, steps))),
        )
        return _Ready(backend.name, backend.device, backend.precision, backend.batch_size)

    try:
        with suppress(EOFError, BrokenPipeError, ConnectionResetError):
            connection.send(_attempt(load))
            while backend is not None and (images := connection.recv()) is not None:
                connection.send(_attempt(partial(backend.infer, images)))
    finally:
        if backend is not None:
            with suppress(CartclsError):
                backend.close()


def _attempt(work: Callable[[], Any]) -> tuple[str, Any]:
    """The result of a call as the service gets it: an answer, or an error."""
    try:
        return "answer", work()
    except BackendError as error:
        told = backend_error(str(error))
        return "error", told if isinstance(told, OutOfMemoryError) else error
    except CartclsError as error:
        return "error", error
    except MemoryError:
        return "error", OutOfMemoryError("the machine is out of memory")
    except Exception as error:  # the service must get it
        return "error", BackendError(f"{type(error).__name__}: {error}")
