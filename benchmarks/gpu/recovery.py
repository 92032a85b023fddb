"""Faults of a GPU in the child process: cells must get their right answers all the same."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from place import Place

from cartcls.runtime.bundle.bundle import load_bundle
from cartcls.runtime.errors import BackendError
from cartcls.runtime.inference.backend import Backend, Outputs, Progress
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.inference.cuda import CudaBindings
from cartcls.runtime.inference.parity import read_reference
from cartcls.runtime.inference.worker import ChildBackend

FAULTS = ("none", "kill", "refused memory", "full memory", "illegal address", "hang")
ANSWER_SECONDS = 15.0
CYCLES = 200_000_000_000  # more than a minute of any GPU
FEW = 8  # images that still fit where memory is short
CHANGE = 0.1  # of a logit


def step_recovery(place: Place) -> None:
    """Each fault once, at the second batch of a process."""
    expected: list[npt.NDArray[np.float32]] = []
    for fault in FAULTS:
        marker = place.state / f"fault-{fault.replace(' ', '-')}"
        marker.unlink(missing_ok=True)
        place.attempt(fault, partial(_try, place, fault, marker, expected))


def _try(place: Place, fault: str, marker: Path, expected: list[npt.NDArray[np.float32]]) -> str:
    said: list[str] = []
    opened = partial(open_faulty, fault, marker, place.small)
    child = ChildBackend(opened, open_float32, said.append, answer_seconds=ANSWER_SECONDS)
    try:
        begun = len(said)
        started = time.perf_counter()
        outputs = child.infer(_cells(place.small))
        seconds = time.perf_counter() - started
    finally:
        child.close()
    if not expected:
        expected.append(outputs.logits)
    change = float(np.abs(outputs.logits - expected[0]).max())
    place.check(f"{fault}: answers", change <= CHANGE, f"largest change of a logit {change:.4f}")
    messages = "; ".join(said[begun:])
    place.check(f"{fault}: noticed", fault == "none" or bool(messages), messages or "nothing said")
    return f"{seconds:.1f} s"


def open_faulty(
    fault: str, marker: Path, small: bool, notify: Callable[[str], None], progress: Progress
) -> "FaultyBackend":
    """In the child: the TensorRT backend, warm, with a fault to come."""
    backend = open_backend(load_bundle(), "tensorrt", notify, progress)
    backend.infer(_cells(small))
    return FaultyBackend(backend, fault, marker, small)


def open_float32() -> Backend:
    """For not-a-number, which none of the faults gives."""
    raise BackendError("a fault gave not-a-number")


class FaultyBackend:
    """A backend with one fault, the first time that it is asked; `marker` says that it was."""

    batches_at_once = 1

    def __init__(self, backend: Backend, fault: str, marker: Path, small: bool):
        self.backend, self.fault, self.marker, self.small = backend, fault, marker, small
        self.name, self.device, self.precision = backend.name, backend.device, backend.precision
        self.batch_size = backend.batch_size
        self.held: list[torch.Tensor] = []

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Cause the fault, then compute."""
        if self.fault == "refused memory" and len(images) > FEW:
            self.marker.touch()
            CudaBindings().allocate(1 << 50)
        if not self.marker.exists() and self.fault != "none":
            self.marker.touch()
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.small:
                _pretend(self.fault)
            else:
                {"full memory": self._fill, "illegal address": _write_freed_memory, "hang": _spin}[self.fault]()
        return self.backend.infer(images)

    def close(self) -> None:
        """Close the backend."""
        self.backend.close()

    def _fill(self) -> None:
        torch.cuda.empty_cache()
        for size in (1 << 30, 1 << 26, 1 << 22):
            try:
                while True:
                    self.held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
            except torch.OutOfMemoryError:
                continue


def _pretend(fault: str) -> None:
    if fault == "hang":
        time.sleep(600)
    raise BackendError("out of memory" if fault == "full memory" else "an illegal memory access was encountered")


def _write_freed_memory() -> None:
    """A kernel that writes to memory that is no longer there: the error stays until the process ends."""
    from tensorrt import tensor_at  # pyright: ignore[reportMissingImports]

    cuda = CudaBindings()
    address = cuda.allocate(1 << 30)
    gone = tensor_at(address, (1 << 30,), torch.uint8)
    cuda.free(address)
    gone.add_(1)


def _spin() -> None:
    """A kernel that keeps the whole GPU from everything behind it on any stream, as a hang does."""
    torch.cuda._sleep(CYCLES)
    torch.cuda.synchronize()


def _cells(small: bool) -> npt.NDArray[np.uint8]:
    images = read_reference(load_bundle()).images
    return images[np.arange(10 if small else 64) % len(images)]
