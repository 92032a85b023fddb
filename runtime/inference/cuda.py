"""CUDA for TensorRT: through PyCUDA if it is installed, else cuda-bindings."""

import atexit
import ctypes
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np

from ..errors import BackendError, NoGpuError, NotInstalledError
from .backend import backend_error
from .cuda_protocol import Bytes, Cuda, Gpu, driver_version


def open_cuda() -> Cuda:
    """Open the first GPU, or the first of those that `CUDA_VISIBLE_DEVICES` names.

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
            raise NotInstalledError("cuda-bindings is not installed: pip install 'cartcls[tensorrt]'") from None
        self._runtime: Any = runtime
        try:
            properties = self._call(runtime.cudaGetDeviceProperties, 0)
            version = self._call(runtime.cudaDriverGetVersion)
            self._stream = self._call(runtime.cudaStreamCreate)
        except BackendError as error:
            raise NoGpuError(str(error)) from None
        name = bytes(properties.name).split(b"\0")[0].decode()
        capability = f"sm{properties.major}{properties.minor}"
        self.gpu = Gpu(name, capability, driver_version(version), int(properties.totalGlobalMem))
        self.stream = int(self._stream)

    def current(self) -> AbstractContextManager[None]:
        """See `Cuda`; CUDA's runtime takes care of it by itself."""
        return nullcontext()

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

    def synchronize(self) -> None:
        """See `Cuda`."""
        self._call(self._runtime.cudaStreamSynchronize, self._stream)

    def close(self) -> None:
        """See `Cuda`."""
        try:
            self.synchronize()
        finally:
            self._call(self._runtime.cudaStreamDestroy, self._stream)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            error, *results = function(*arguments)
        except RuntimeError as problem:  # no driver library at all
            raise BackendError(f"CUDA cannot be used: {problem}") from None
        if int(error):
            text = self._runtime.cudaGetErrorString(error)[1].decode()
            raise backend_error(f"CUDA cannot be used: {text} ({function.__name__})")
        return results[0] if results else None


class PyCuda:
    """CUDA through PyCUDA, in the primary context that other libraries in the process share.

    A context is current in one thread, so each call makes it current and takes it back: PyCUDA aborts the process where
    a thread ends with one.
    """

    def __init__(self) -> None:
        import pycuda.driver as driver  # pyright: ignore[reportMissingImports]

        self._driver: Any = driver
        try:
            self._context = _primary_context(self._driver)
            device = driver.Device(0)
            major, minor = device.compute_capability()
            version = driver_version(driver.get_driver_version())
            self.gpu = Gpu(device.name(), f"sm{major}{minor}", version, device.total_memory())
            with self.current():
                self._stream = driver.Stream()
        except (driver.Error, RuntimeError) as error:
            raise NoGpuError(f"CUDA cannot be used: {error}") from None
        self.stream = int(self._stream.handle)
        self._allocations: dict[int, Any] = {}

    @contextmanager
    def current(self) -> Iterator[None]:
        """See `Cuda`."""
        try:
            self._context.push()
        except self._driver.Error as error:
            raise BackendError(f"CUDA cannot be used: {error}") from None
        try:
            yield
        finally:
            self._context.pop()

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
        event = self._call(self._driver.Event, self._driver.event_flags.BLOCKING_SYNC)
        return self._call(event.record, self._stream)

    def wait(self, event: Any) -> None:
        """See `Cuda`."""
        self._call(event.synchronize)

    def synchronize(self) -> None:
        """See `Cuda`."""
        self._call(self._stream.synchronize)

    def close(self) -> None:
        """See `Cuda`."""
        with self.current():
            try:
                self.synchronize()
            finally:
                del self._stream  # PyCUDA destroys it with its last reference

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            with self.current():
                return function(*arguments)
        except self._driver.Error as error:
            raise backend_error(f"CUDA cannot be used: {error}") from None


@cache
def _primary_context(driver: Any) -> Any:
    """The first GPU's primary context, kept until the process ends: PyCUDA's release of it leaves it current."""
    driver.init()
    context = driver.Device(0).retain_primary_context()
    atexit.register(context.detach)  # or PyCUDA treats it as a context of its own
    return context
