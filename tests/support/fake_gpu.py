"""A GPU that only pretends, as strict as a real one, behind PyCUDA's calls and behind cuda-bindings'.

A context is current in one thread, work on a stream is done when somebody waits for an event behind it and not before,
memory has real addresses and is full of garbage, and any call can be the one that fails.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cartcls.runtime.inference import cuda

Bytes = npt.NDArray[np.uint8]
GARBAGE = 255


class Event:
    """Is done when its stream has come to it."""

    def __init__(self) -> None:
        self.stream, self.done = 0, False


class FakeGpu:
    """The driver.

    Attributes:
        calls: Name and thread of each call, by which any of them can be chosen to fail.
        fails: Number of the call that fails; none if it is -1.
        memory: Bytes on the device.
        capability: Its compute capability.
    """

    def __init__(self, fails: int = -1, memory: int = 1 << 33):
        self.fails, self.memory, self.calls = fails, memory, list[tuple[str, int]]()
        self.capability: tuple[int, int] = (8, 6)
        self.device: dict[int, Bytes] = {}
        self.pinned: dict[int, Bytes] = {}
        self.streams: dict[int, deque[Callable[[], None]]] = {0: deque()}
        self._current = threading.local()

    def call(self, name: str) -> bool:
        """Note a call; says whether it fails."""
        assert self.is_current(), f"{name} in a thread in which no context is current"
        self.calls.append((name, threading.get_ident()))
        return len(self.calls) - 1 == self.fails

    def is_current(self) -> bool:
        """Whether a context is current in this thread."""
        return self.depth() > 0 or getattr(self._current, "runtime", False)

    def depth(self) -> int:
        """How often the context was pushed in this thread and not popped."""
        return getattr(self._current, "depth", 0)

    def push(self, count: int) -> None:
        """Push the context in this thread; pop it with -1."""
        self._current.depth = self.depth() + count
        assert self._current.depth >= 0, "a context is popped that was not pushed"

    def use_runtime(self) -> None:
        """CUDA's runtime makes the context current in a thread by itself."""
        self._current.runtime = True

    def allocate(self, size: int, where: dict[int, Bytes]) -> int:
        """Memory full of garbage, at its real address."""
        memory = np.full(size, GARBAGE, np.uint8)
        where[memory.ctypes.data] = memory
        return memory.ctypes.data

    def has_room(self, size: int) -> bool:
        """Whether so many bytes are free on the device."""
        return sum(memory.size for memory in self.device.values()) + size <= self.memory

    def free(self, address: int, where: dict[int, Bytes]) -> None:
        """Free memory, which nothing on a stream may use any more."""
        assert not any(self.streams.values()), "memory is freed while a stream uses it"
        where.pop(address)[:] = GARBAGE

    def view(self, address: int, size: int, where: dict[int, Bytes]) -> Bytes:
        """Memory from an address on, which must be allocated."""
        for start, memory in where.items():
            if start <= address and address + size <= start + memory.size:
                return memory[address - start : address - start + size]
        raise AssertionError(f"{size} bytes at {address} are not allocated")

    def copy(self, target: int, source: int, size: int, stream: int, into_device: bool) -> None:
        """Put a copy on a stream: what is at the source when the stream comes to it."""
        here, there = (self.pinned, self.device) if into_device else (self.device, self.pinned)
        to, of = self.view(target, size, there), self.view(source, size, here)
        self.streams[stream].append(lambda: to.__setitem__(slice(None), of))

    def record(self, event: Event, stream: int) -> None:
        """Put an event on a stream."""
        event.stream = stream
        self.streams[stream].append(lambda: setattr(event, "done", True))

    def wait(self, event: Event) -> None:
        """Let the event's stream work until it comes to the event."""
        while not event.done:
            self.streams[event.stream].popleft()()

    def synchronize(self, stream: int) -> None:
        """Let a stream work until nothing is left."""
        while self.streams[stream]:
            self.streams[stream].popleft()()

    def open_stream(self) -> int:
        """A stream of its own; 0 is the one of whoever names none."""
        self.streams[7] = deque()
        return 7

    @property
    def is_free(self) -> bool:
        """Whether all memory was given back."""
        return not self.device and not self.pinned


class Pinned:
    """Page-locked memory as PyCUDA has it: the base of an array."""

    def __init__(self, gpu: FakeGpu, size: int):
        self.gpu, self.address = gpu, gpu.allocate(size, gpu.pinned)
        self.__array_interface__ = gpu.pinned[self.address].__array_interface__

    def free(self) -> None:
        self.gpu.call("cuMemFreeHost")
        self.gpu.free(self.address, self.gpu.pinned)


def pycuda_driver(gpu: FakeGpu) -> ModuleType:
    """As `pycuda.driver`."""
    driver: Any = ModuleType("pycuda.driver")
    driver.Error = type("Error", (Exception,), {})
    driver.MemoryError = type("MemoryError", (driver.Error,), {})
    ready: list[bool] = []

    def checked(name: str) -> None:
        if gpu.call(name):
            raise driver.MemoryError(f"{name} failed: out of memory")

    class Stream:
        def __init__(self) -> None:
            checked("cuStreamCreate")
            self.handle = gpu.open_stream()

        def synchronize(self) -> None:
            gpu.synchronize(self.handle)
            checked("cuStreamSynchronize")

    class PyEvent(Event):
        def __init__(self, flags: int):
            super().__init__()
            checked("cuEventCreate")

        def record(self, stream: Stream) -> "PyEvent":
            checked("cuEventRecord")
            gpu.record(self, stream.handle)
            return self

        def synchronize(self) -> None:
            gpu.wait(self)
            checked("cuEventSynchronize")

    class Allocation:
        def __init__(self, size: int):
            checked("cuMemAlloc")
            if not gpu.has_room(size):
                raise driver.MemoryError("cuMemAlloc failed: out of memory")
            self.address = gpu.allocate(size, gpu.device)

        def __int__(self) -> int:
            return self.address

        def free(self) -> None:
            gpu.call("cuMemFree")
            gpu.free(self.address, gpu.device)

    class Device:
        def __init__(self, number: int):
            assert ready, "cuInit was not called"
            assert number == 0

        def retain_primary_context(self) -> SimpleNamespace:
            return SimpleNamespace(push=lambda: gpu.push(1), pop=lambda: gpu.push(-1), detach=lambda: None)

        def name(self) -> str:
            return "A GPU"

        def compute_capability(self) -> tuple[int, int]:
            return gpu.capability

        def total_memory(self) -> int:
            return 1 << 33

    def pagelocked_empty(size: int, dtype: type) -> Bytes:
        checked("cuMemHostAlloc")
        return np.asarray(Pinned(gpu, size))

    def memcpy_htod_async(target: int, source: Bytes, stream: Stream) -> None:
        checked("cuMemcpyHtoDAsync")
        gpu.copy(target, source.ctypes.data, source.nbytes, stream.handle, into_device=True)

    def memcpy_dtoh_async(target: Bytes, source: int, stream: Stream) -> None:
        checked("cuMemcpyDtoHAsync")
        gpu.copy(target.ctypes.data, source, target.nbytes, stream.handle, into_device=False)

    driver.init, driver.get_driver_version = (lambda: ready.append(True)), (lambda: 12090)
    driver.Device, driver.Stream, driver.Event, driver.mem_alloc = Device, Stream, PyEvent, Allocation
    driver.event_flags = SimpleNamespace(BLOCKING_SYNC=1)
    driver.pagelocked_empty = pagelocked_empty
    driver.memcpy_htod_async, driver.memcpy_dtoh_async = memcpy_htod_async, memcpy_dtoh_async
    return driver


class CudaRuntime:
    """As `cuda.bindings.runtime`: each call gives an error, and then its results."""

    cudaHostAllocDefault, cudaEventBlockingSync = 0, 1
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self, gpu: FakeGpu):
        self.gpu = gpu

    def _call(self, name: str, work: Callable[[], Any] = lambda: None) -> tuple[Any, ...]:
        self.gpu.use_runtime()
        if not self.gpu.call(name) or "Free" in name or "Destroy" in name:
            return 0, work()
        if "Synchronize" in name:  # tells of what failed before
            work()
        return 2, None

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        major, minor = self.gpu.capability
        about = SimpleNamespace(name=b"A GPU\0\0", major=major, minor=minor, totalGlobalMem=1 << 33)
        return self._call("cudaGetDeviceProperties", lambda: about)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return self._call("cudaDriverGetVersion", lambda: 12090)

    def cudaStreamCreate(self) -> tuple[Any, ...]:
        return self._call("cudaStreamCreate", self.gpu.open_stream)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        if not self.gpu.has_room(size):
            return 2, None
        return self._call("cudaMalloc", lambda: self.gpu.allocate(size, self.gpu.device))

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return self._call("cudaFree", lambda: self.gpu.free(address, self.gpu.device))

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        return self._call("cudaHostAlloc", lambda: self.gpu.allocate(size, self.gpu.pinned))

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self._call("cudaFreeHost", lambda: self.gpu.free(address, self.gpu.pinned))

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[Any, ...]:
        return self._call("cudaMemcpyAsync", lambda: self.gpu.copy(target, source, size, stream, kind == 1))

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        return self._call("cudaEventCreateWithFlags", Event)

    def cudaEventRecord(self, event: Event, stream: int) -> tuple[Any, ...]:
        return self._call("cudaEventRecord", lambda: self.gpu.record(event, stream))

    def cudaEventSynchronize(self, event: Event) -> tuple[Any, ...]:
        return self._call("cudaEventSynchronize", lambda: self.gpu.wait(event))

    def cudaEventDestroy(self, event: Event) -> tuple[Any, ...]:
        return self._call("cudaEventDestroy")

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        return self._call("cudaStreamSynchronize", lambda: self.gpu.synchronize(stream))

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        return self._call("cudaStreamDestroy")

    def cudaGetErrorString(self, error: int) -> tuple[Any, ...]:
        return 0, b"out of memory"


LIBRARIES = ("pycuda", "cuda-bindings")


@contextmanager
def installed(gpu: FakeGpu, library: str, tensorrt: ModuleType | None = None) -> Iterator[None]:
    """One of `LIBRARIES` is installed, for this GPU, and the other is not; likewise this TensorRT."""
    names = ("pycuda", "pycuda.driver", "cuda.bindings", "cuda.bindings.runtime", "tensorrt", "tensorrt_rtx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda, "NODES", [Path("/")])  # its driver is there
        for name in names:
            patch.setitem(sys.modules, name, None)
        if tensorrt is not None:
            patch.setitem(sys.modules, tensorrt.__name__, tensorrt)
        if library == "pycuda":
            driver = pycuda_driver(gpu)
            patch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=driver))
            patch.setitem(sys.modules, "pycuda.driver", driver)
        else:
            patch.setitem(sys.modules, "cuda.bindings", SimpleNamespace(runtime=CudaRuntime(gpu)))
        yield
