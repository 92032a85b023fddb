"""TensorRT's execution context: what an engine needs to run batches up to a size."""

from contextlib import ExitStack, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import OutOfMemoryError
from ..files import replace_file
from .backend import BATCHES, MAX_BATCH
from .cuda_protocol import Cuda
from .engine_store import RTX
from .tensorrt_engine import tensorrt_error, tensorrt_log


class ExecutionContext:
    """Runs an engine on the stream, for batches of at most `largest` images.

    TensorRT allocates memory for the largest batch of the engine. Where that is too much, `largest` is smaller, and the
    memory that its layers work in is allocated here.
    """

    _context: Any

    def __init__(
        self, trt: ModuleType, cuda: Cuda, engine: Any, shape: tuple[int, int, int], largest: int, kernels: list[Path]
    ):
        """Create it.

        Args:
            trt: The library that built the engine.
            cuda: The GPU.
            engine: TensorRT's engine.
            shape: Height, width and channels of an image.
            largest: One of `BATCHES`.
            kernels: Where TensorRT for RTX keeps its kernels: written to the first, read from the first that is there.

        Raises:
            OutOfMemoryError: The GPU has too little memory for it.
            BackendError: It cannot be created.
        """
        self._cuda, self._shape, self._kernels = cuda, shape, kernels
        self._managed = largest < MAX_BATCH
        self._cache: Any = None
        self._set_size, self._seen, self._saved_sizes, self._saved = 0, set[int](), set[int](), b""
        tensorrt_log(trt).clear()
        with ExitStack() as stack:
            stack.callback(self._delete)
            self._context = self._create(trt, engine)
            if self._context is None:
                text = f"{cuda.gpu.name} cannot run batches of {largest}"
                if tensorrt_log(trt).errors:
                    raise tensorrt_error(trt, text)
                raise OutOfMemoryError(f"{text}: out of memory")
            if self._managed:
                self._allocate(largest, stack)
            self._release = stack.pop_all()

    def run(self, count: int, addresses: dict[str, int]) -> bool:
        """Put a batch on the stream.

        Args:
            count: One of `BATCHES`.
            addresses: Of each input and output on the GPU.

        Returns:
            Whether TensorRT took it.
        """
        ready = count == self._set_size or self._resize(count)
        for name, address in addresses.items():
            ready = self._context.set_tensor_address(name, address) and ready
        self._seen.add(count)
        return ready and self._context.execute_async_v3(self._cuda.stream)

    def save_kernels(self) -> None:
        """Write what TensorRT for RTX compiled at the first batch of a size, so that the next start is short."""
        if self._cache is None or self._seen == self._saved_sizes:
            return
        self._saved_sizes = set(self._seen)
        compiled = bytes(self._cache.serialize())
        if compiled != self._saved:
            with suppress(OSError):
                self._kernels[0].parent.mkdir(parents=True, exist_ok=True)
                replace_file(self._kernels[0], compiled)
                self._saved = compiled

    def close(self) -> None:
        """Delete it, and free its memory; nothing may be on the stream any more."""
        self._release.close()

    def _create(self, trt: ModuleType, engine: Any) -> Any:
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if trt.__name__ != RTX:
            return engine.create_execution_context(strategy) if self._managed else engine.create_execution_context()
        # TensorRT for RTX compiles kernels at the first use of each shape, and others in the background unless EAGER.
        # All shapes are `BATCHES`, on which parity is checked, so what was checked is what runs.
        config = engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        if self._managed:
            config.set_execution_context_allocation_strategy(strategy)
        self._cache = config.create_runtime_cache()
        for file in self._kernels:
            with suppress(OSError):
                self._saved = file.read_bytes()
                self._cache.deserialize(self._saved)  # false for another machine's, which is refilled
                break
        config.set_runtime_cache(self._cache)
        return engine.create_execution_context(config)

    def _allocate(self, largest: int, stack: ExitStack) -> None:
        sizes = [self._needed(count) for count in BATCHES if count <= largest]
        address = self._cuda.allocate(max(*sizes, 1))
        stack.callback(self._cuda.free, address)
        if hasattr(self._context, "set_device_memory"):
            self._context.set_device_memory(address, max(*sizes, 1))
        else:  # before TensorRT 10.1
            self._context.device_memory = address

    def _needed(self, count: int) -> int:
        """Set the shape of a batch, and tell how many bytes its layers need."""
        self._context.set_input_shape("image", (count, *self._shape))
        return int(self._context.update_device_memory_size_for_shapes())

    def _resize(self, count: int) -> bool:
        if self._managed and self._set_size:
            self._cuda.synchronize()  # the batch before uses the memory in its own way
        ready = self._context.set_input_shape("image", (count, *self._shape))
        if ready and self._managed:
            self._context.update_device_memory_size_for_shapes()
        self._set_size = count if ready else 0
        return ready

    def _delete(self) -> None:
        self._context = self._cache = None
