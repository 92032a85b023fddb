"""An NVIDIA GPU, and what TensorRT needs of it: memory, copies, a stream."""

import re
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import BackendError

Bytes = npt.NDArray[np.uint8]

DRIVER = Path("/proc/driver/nvidia/version")
COPIED = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU.

    Attributes:
        name: As the driver calls it.
        compute_capability: Such as `sm86`.
        driver: Version of the driver, such as `580.95.05`, if the system gives it; else its newest CUDA.
        memory: Bytes.
    """

    name: str
    compute_capability: str
    driver: str
    memory: int


class Cuda(Protocol):
    """One GPU and one stream; addresses are plain numbers, events are objects of the library behind it."""

    gpu: Gpu
    stream: int

    def current(self) -> AbstractContextManager[None]:
        """The GPU's context is current in this thread, as other libraries' calls need it."""
        ...

    def allocate(self, size: int) -> int:
        """Address of new device memory of `size` bytes."""
        ...

    def free(self, address: int) -> None:
        """Free device memory."""
        ...

    def pinned(self, size: int) -> Bytes:
        """New page-locked host memory, uint8, (size,)."""
        ...

    def unpin(self, memory: Bytes) -> None:
        """Free page-locked memory."""
        ...

    def copy_in(self, address: int, source: Bytes) -> None:
        """Copy page-locked host memory to the device, on the stream."""
        ...

    def copy_out(self, target: Bytes, address: int) -> None:
        """Copy device memory to page-locked host memory, on the stream."""
        ...

    def record(self) -> Any:
        """Record an event after all that is on the stream now."""
        ...

    def wait(self, event: Any) -> None:
        """Wait for an event, once."""
        ...

    def synchronize(self) -> None:
        """Wait for all that is on the stream."""
        ...

    def close(self) -> None:
        """Wait for the stream and destroy it."""
        ...


def check_copies(cuda: Cuda) -> None:
    """Copy some bytes to the GPU and back.

    Raises:
        BackendError: They cannot be copied, or others come back.
    """
    with cuda.current(), ExitStack() as stack:
        sent = cuda.pinned(COPIED)
        stack.callback(cuda.unpin, sent)
        back = cuda.pinned(COPIED)
        stack.callback(cuda.unpin, back)
        address = cuda.allocate(COPIED)
        stack.callback(cuda.free, address)
        stack.callback(cuda.synchronize)
        sent[:], back[:] = np.arange(COPIED) % 251, 0
        cuda.copy_in(address, sent)
        cuda.copy_out(back, address)
        cuda.wait(cuda.record())
        if not np.array_equal(sent, back):
            raise BackendError(f"{cuda.gpu.name} gives back other bytes than it was given: restart the machine")


def driver_version(cuda: int) -> str:
    """Version of the driver; where the system does not give it, that of its newest CUDA, from CUDA's number for it."""
    try:
        found = re.search(r"\b[0-9]{3}\.[0-9.]+\b", DRIVER.read_text())
    except OSError:
        found = None
    return found[0] if found else f"CUDA {cuda // 1000}.{cuda % 1000 // 10}"
