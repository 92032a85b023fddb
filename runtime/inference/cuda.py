"""What TensorRT needs of CUDA: memory, copies, a stream; through PyCUDA if it is installed, else cuda-bindings."""

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import BackendError, NoGpuError, NotInstalledError

Bytes = npt.NDArray[np.uint8]

DRIVER = Path("/proc/driver/nvidia/version")
NODES = (DRIVER, *map(Path, ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/dxg")))  # also of Jetson and WSL
PCI_VENDORS, NVIDIA = Path("/sys/bus/pci/devices"), "0x10de"
NO_GPU = "there is no NVIDIA GPU"


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

    def close(self) -> None:
        """Wait for the stream and destroy it."""
        ...


def open_cuda() -> Cuda:
    """Open a GPU: the first one, or the one that the environment names.

    Raises:
        NoGpuError: There is no NVIDIA GPU, or its driver does not fit.
        NotInstalledError: There is neither PyCUDA nor cuda-bindings.
    """
    try:
        import pycuda.driver  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return CudaBindings()
    return PyCuda()


class CudaBindings:
    """CUDA through NVIDIA's cuda-bindings."""

    def __init__(self) -> None:
        try:
            from cuda.bindings import runtime  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
        except ImportError:
            raise NotInstalledError("cuda-bindings is not installed: pip install 'cuda-bindings>=12.9.1'") from None
        self._runtime: Any = runtime
        try:
            properties = self._call(runtime.cudaGetDeviceProperties, 0)
            version = self._call(runtime.cudaDriverGetVersion)
            self._stream = self._call(runtime.cudaStreamCreate)
        except BackendError as error:
            raise NoGpuError(why_no_gpu() or str(error)) from None
        name = bytes(properties.name).split(b"\0")[0].decode()
        capability = f"sm{properties.major}{properties.minor}"
        self.gpu = Gpu(name, capability, _driver(version), int(properties.totalGlobalMem))
        self.stream = int(self._stream)

    def allocate(self, size: int) -> int:
        """See `Cuda`."""
        return int(self._call(self._runtime.cudaMalloc, size))

    def free(self, address: int) -> None:
        """See `Cuda`."""
        self._call(self._runtime.cudaFree, address)

    def pinned(self, size: int) -> Bytes:
        """See `Cuda`."""
        address = int(self._call(self._runtime.cudaHostAlloc, size, self._runtime.cudaHostAllocDefault))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def unpin(self, memory: Bytes) -> None:
        """See `Cuda`."""
        self._call(self._runtime.cudaFreeHost, memory.ctypes.data)

    def copy_in(self, address: int, source: Bytes) -> None:
        """See `Cuda`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call(self._runtime.cudaMemcpyAsync, address, source.ctypes.data, source.nbytes, kind, self._stream)

    def copy_out(self, target: Bytes, address: int) -> None:
        """See `Cuda`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call(self._runtime.cudaMemcpyAsync, target.ctypes.data, address, target.nbytes, kind, self._stream)

    def record(self) -> Any:
        """See `Cuda`."""
        # Waiting must not keep a core busy that could decode.
        event = self._call(self._runtime.cudaEventCreateWithFlags, self._runtime.cudaEventBlockingSync)
        self._call(self._runtime.cudaEventRecord, event, self._stream)
        return event

    def wait(self, event: Any) -> None:
        """See `Cuda`."""
        try:
            self._call(self._runtime.cudaEventSynchronize, event)
        finally:
            self._call(self._runtime.cudaEventDestroy, event)

    def close(self) -> None:
        """See `Cuda`."""
        try:
            self._call(self._runtime.cudaStreamSynchronize, self._stream)
        finally:
            self._call(self._runtime.cudaStreamDestroy, self._stream)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            error, *results = function(*arguments)
        except RuntimeError as problem:  # no driver library at all
            raise BackendError(f"CUDA cannot be used: {problem}") from None
        if int(error):
            text = self._runtime.cudaGetErrorString(error)[1].decode()
            raise BackendError(f"CUDA cannot be used: {text} ({function.__name__})")
        return results[0] if results else None


class PyCuda:
    """CUDA through PyCUDA, in the primary context that other libraries in the process share."""

    def __init__(self) -> None:
        import pycuda.driver as driver  # pyright: ignore[reportMissingImports]

        self._driver: Any = driver
        try:
            import pycuda.autoprimaryctx  # noqa: F401  # pyright: ignore[reportMissingImports]

            device = driver.Context.get_device()
            major, minor = device.compute_capability()
            version = _driver(driver.get_driver_version())
            self.gpu = Gpu(device.name(), f"sm{major}{minor}", version, device.total_memory())
            self._stream = driver.Stream()
        except (driver.Error, RuntimeError) as error:  # the latter where no device gives a context
            raise NoGpuError(why_no_gpu() or f"CUDA cannot be used: {error}") from None
        self.stream = int(self._stream.handle)
        self._allocations: dict[int, Any] = {}

    def allocate(self, size: int) -> int:
        """See `Cuda`."""
        allocation = self._call(self._driver.mem_alloc, size)
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        """See `Cuda`."""
        self._call(self._allocations.pop(address).free)

    def pinned(self, size: int) -> Bytes:
        """See `Cuda`."""
        return self._call(self._driver.pagelocked_empty, size, np.uint8)

    def unpin(self, memory: Bytes) -> None:
        """See `Cuda`."""
        owner: Any = memory.base
        self._call(owner.free)

    def copy_in(self, address: int, source: Bytes) -> None:
        """See `Cuda`."""
        self._call(self._driver.memcpy_htod_async, address, source, self._stream)

    def copy_out(self, target: Bytes, address: int) -> None:
        """See `Cuda`."""
        self._call(self._driver.memcpy_dtoh_async, target, address, self._stream)

    def record(self) -> Any:
        """See `Cuda`."""
        return self._call(self._driver.Event(self._driver.event_flags.BLOCKING_SYNC).record, self._stream)

    def wait(self, event: Any) -> None:
        """See `Cuda`."""
        self._call(event.synchronize)

    def close(self) -> None:
        """See `Cuda`."""
        self._call(self._stream.synchronize)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._driver.Error as error:
            raise BackendError(f"CUDA cannot be used: {error}") from None


def why_no_gpu() -> str:
    """Say that there is no NVIDIA GPU, or no driver for it: CUDA calls both an old driver. Empty where there is one."""
    if any(node.exists() for node in NODES):
        return ""
    vendors = (file.read_text() for file in PCI_VENDORS.glob("*/vendor"))
    return "the NVIDIA driver is not loaded" if NVIDIA in map(str.strip, vendors) else NO_GPU


def _driver(cuda: int) -> str:
    try:
        found = re.search(r"\b[0-9]{3}\.[0-9.]+\b", DRIVER.read_text())
    except OSError:
        found = None
    return found[0] if found else f"CUDA {cuda // 1000}.{cuda % 1000 // 10}"
