"""A backend in a process of its own, for a service: what befalls it there is mended, or told in a clear error.

Drivers hang, GPUs run out of memory or fall off the bus, and a CUDA error stays for as long as its process. So the
process is ended and begun again; memory that is short makes the batches smaller; what is not a number is computed
again in float32 on the CPU.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..errors import BackendError, CartclsError, OutOfMemoryError
from .backend import Backend, Outputs, Progress, no_progress
from .choose import open_backend
from .openvino_backend import F32, OpenVINOBackend

Notify = Callable[[str], None]
Open = Callable[[Notify, Progress], Backend]

TRIES = 3
ANSWER_SECONDS = 30.0  # a batch takes one second on a slow CPU
SLOWER = 4  # times the longest answer so far is still no hang
OPENING_SECONDS = 600.0  # without a sign of life: building an engine gives some


@dataclass(frozen=True)
class _Ready:
    name: str
    device: str
    precision: str
    batch_size: int


class ChildBackend:
    """A backend in a process of its own.

    Attributes:
        batch_size: Becomes smaller where memory is short.
    """

    def __init__(
        self,
        open_child: Open,
        open_exact: Callable[[], Backend],
        notify: Notify = lambda line: None,
        progress: Progress = no_progress,
        answer_seconds: float = ANSWER_SECONDS,
    ):
        """Begin the process and load the model there.

        Args:
            open_child: Called there, with functions for lines and progress. It must be picklable.
            open_exact: Called here, for a backend that computes in float32 on the CPU, at the first not-a-number.
            notify: Called with a line on what people should know.
            progress: See `cartcls.runtime.inference.choose.open_backend`.
            answer_seconds: How long a batch may take; longer on a machine that has proven to be slower.

        Raises:
            CartclsError: What `open_child` raised.
        """
        self._open_child, self._open_exact = open_child, open_exact
        self._notify, self._progress, self._answer_seconds = notify, progress, answer_seconds
        self._slowest = 0.0
        self._exact: Backend | None = None
        self._ready = ready = self._start()
        self.name, self.device, self.precision = ready.name, ready.device, ready.precision
        self.batch_size = ready.batch_size

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3); what is not a number is computed again on the CPU.

        Raises:
            BackendError: The process was begun again several times, and failed each time.
        """
        outputs = self._persist(images)
        wrong = np.asarray(~np.isfinite(outputs.logits).all(1))
        if not wrong.any():
            return outputs
        self._notify(f"{self.name} gave not-a-number for {wrong.sum()} cells: computed again on the CPU")
        self._exact = self._exact or self._open_exact()
        return outputs.replaced(wrong, self._exact.infer(images[wrong]))

    def close(self) -> None:
        """End the process."""
        self._end()
        if self._exact:
            self._exact.close()

    def _persist(self, images: npt.NDArray[np.uint8]) -> Outputs:
        problem = BackendError("not tried")
        for number in range(TRIES):
            try:
                return self._ask(images, 2**number * max(self._answer_seconds, SLOWER * self._slowest))
            except OutOfMemoryError as error:
                if len(images) > 1:
                    self.batch_size = half = (len(images) + 1) // 2
                    self._notify(f"{error}: going on with batches of {half}")
                    return Outputs.joined([self._persist(images[:half]), self._persist(images[half:])])
                problem = error
            except BackendError as error:
                problem = error
            self._notify(f"{problem}: beginning again in a new process")
            self._end()
            if self._start() != self._ready:
                raise BackendError(f"{self.name} on {self.device} cannot be used any more")
        raise problem

    def _ask(self, images: npt.NDArray[np.uint8], seconds: float) -> Outputs:
        started = time.monotonic()
        try:
            self._connection.send(images)
        except OSError:
            raise BackendError(f"the process of {self.name} has ended") from None
        outputs = self._receive(seconds)
        self._slowest = max(self._slowest, time.monotonic() - started)
        return outputs

    def _start(self) -> _Ready:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._open_child, theirs), daemon=True)
        self._process.start()
        theirs.close()
        try:
            return self._receive(OPENING_SECONDS)
        except BaseException:
            self._end()
            raise

    def _receive(self, seconds: float) -> Any:
        """The next answer; lines and progress on the way are passed on."""
        while self._connection.poll(seconds):
            try:
                kind, value = self._connection.recv()
            except (EOFError, OSError):
                self._process.join()
                raise BackendError(f"the model's process has ended (exit code {self._process.exitcode})") from None
            if kind == "error":
                raise value
            if kind == "answer":
                return value
            if kind == "line":
                self._notify(value)
            else:
                self._progress(*value)
        raise BackendError(f"the model's process has not answered for {seconds:.0f} s")

    def _end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def open_in_child(
    bundle: Bundle, name: str, notify: Notify = lambda line: None, progress: Progress = no_progress, build: bool = True
) -> ChildBackend:
    """Load a bundle's graph in a process of its own; see `cartcls.runtime.inference.choose.open_backend`."""
    return ChildBackend(partial(_open, bundle, name, build), partial(_open_exact, bundle), notify, progress)


def _open(bundle: Bundle, name: str, build: bool, notify: Notify, progress: Progress) -> Backend:
    return open_backend(bundle, name, notify, progress, build)


def _open_exact(bundle: Bundle) -> Backend:
    return OpenVINOBackend(bundle.model, F32)


def _serve(open_child: Open, connection: Connection) -> None:
    """What the process does: load the model and answer, until nobody asks any more."""
    for number in (signal.SIGINT, signal.SIGTERM):  # these are for the service, which still needs answers
        signal.signal(number, signal.SIG_IGN)
    backend: Backend | None = None

    def load() -> _Ready:
        nonlocal backend
        backend = open_child(
            lambda line: connection.send(("line", line)),
            lambda phase, step, steps: connection.send(("progress", (phase, step, steps))),
        )
        return _Ready(backend.name, backend.device, backend.precision, backend.batch_size)

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(_attempt(load))
        while backend is not None:
            connection.send(_attempt(partial(backend.infer, connection.recv())))


def _attempt(work: Callable[[], Any]) -> tuple[str, Any]:
    """What becomes of something: an answer, or the error that the service gets to know."""
    try:
        return "answer", work()
    except BackendError as error:
        text = str(error).lower().replace("_", " ")
        short = any(sign in text for sign in ("out of memory", "bad alloc", "failed to allocate"))
        return "error", OutOfMemoryError(str(error)) if short else error
    except CartclsError as error:
        return "error", error
    except MemoryError:
        return "error", OutOfMemoryError("the machine is out of memory")
    except Exception as error:  # the last place where anybody could hear of it
        return "error", BackendError(f"{type(error).__name__}: {error}")
