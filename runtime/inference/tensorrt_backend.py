"""TensorRT: runs an engine on an NVIDIA GPU."""

import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..errors import OutOfMemoryError
from .backend import BATCHES, MAX_BATCH, Outputs, padded
from .cuda_protocol import Bytes, Cuda
from .engine_store import Engine, engine_directory
from .tensorrt_context import ExecutionContext
from .tensorrt_engine import tensorrt_error, tensorrt_log

SETS = 2


@dataclass
class Buffers:
    """Host and device memory for one batch: page-locked copies of the input and of each output.

    Attributes:
        host: Page-locked memory by tensor name.
        device: Device address by tensor name.
        count: Number of images in progress; 0 when free.
        done: Event after their copies to the host.
    """

    host: dict[str, Bytes] = field(default_factory=dict)
    device: dict[str, int] = field(default_factory=dict)
    count: int = 0
    done: Any = None


class TensorRTBackend:
    """An engine on the first GPU.

    Copies in, inference and copies out go through one stream with two sets of buffers: while the GPU works on one
    batch, the next is copied into page-locked memory and the outputs of the previous one are read from it. Batches are
    padded to `BATCHES`; where memory runs out, everything is allocated anew for the next smaller of them.
    """

    name = "tensorrt"
    batches_at_once = 1
    _runtime: Any
    _engine: Any

    def __init__(
        self,
        trt: ModuleType,
        cuda: Cuda,
        engine: Engine,
        bundle: Bundle,
        notify: Callable[[str], None] = lambda line: None,
    ):
        """Load an engine and allocate all memory that it needs; if that fails, all of it is freed.

        Args:
            trt: The library that built the engine.
            cuda: The GPU; it is closed with the backend.
            engine: Engine whose build record matches.
            bundle: The bundle that it was built from.
            notify: Called where memory runs out, and batches get smaller.

        Raises:
            BackendError: The engine or its memory cannot be loaded.
        """
        self._trt, self._cuda, self._notify = trt, cuda, notify
        self.device = cuda.gpu.name
        self.precision = engine.record.precision
        self._shape = (bundle.height, bundle.width, 3)
        kernels = engine.file.with_suffix(".kernels")
        self._kernels = [engine_directory(bundle) / kernels.name, kernels]
        self._release = ExitStack()
        self._sets: list[Buffers] = []
        try:
            with cuda.current():
                self._load(engine)
                self._open(MAX_BATCH)
        except BaseException:
            self.release()
            raise

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3) for any N.

        Raises:
            BackendError: The GPU failed, or has no memory for a single image.
        """
        with self._cuda.current():
            if not self._sets:
                self._open(MAX_BATCH)
            while True:
                tensorrt_log(self._trt).clear()
                try:
                    return self._infer(images)
                except OutOfMemoryError as error:
                    self._free()
                    self._open_smaller(error)

    def release(self) -> None:
        """Free all memory; the GPU stays open."""
        with self._cuda.current():
            try:
                self._free()
            finally:
                self._engine = None
                self._runtime = None

    def close(self) -> None:
        """Free all memory, and close the GPU."""
        try:
            self.release()
        finally:
            self._cuda.close()

    def _load(self, engine: Engine) -> None:
        trt, log = self._trt, tensorrt_log(self._trt)
        log.clear()
        try:
            self._runtime = trt.Runtime(log)
        except TypeError:  # raised by the bindings where there is no runtime
            raise tensorrt_error(trt, f"{trt.__name__} {trt.__version__} cannot run on {self.device}") from None
        self._engine = self._runtime.deserialize_cuda_engine(engine.data)
        if self._engine is None:
            raise tensorrt_error(trt, f"{engine.file} cannot be loaded", "remove it, and it is rebuilt")
        self._shapes = self._tensor_shapes()
        self.half_share = inspected_half_share(trt, self._engine)

    def _open(self, largest: int) -> None:
        """Allocate all that batches of so many images need; of fewer, if memory runs out."""
        self._largest, self.batch_size = largest, SETS * largest
        with ExitStack() as stack:
            try:
                self._context = ExecutionContext(
                    self._trt, self._cuda, self._engine, self._shape, largest, self._kernels
                )
                stack.callback(self._context.close)
                sets = [self._allocate(stack) for _ in range(SETS)]
                stack.callback(self._cuda.synchronize)
                self._sets, self._release = sets, stack.pop_all()
                return
            except OutOfMemoryError as error:
                problem = error
        self._open_smaller(problem)

    def _open_smaller(self, problem: OutOfMemoryError) -> None:
        smaller = [size for size in BATCHES if size < self._largest]
        if not smaller:
            raise problem
        self._notify(f"{problem}: continuing with batches of {smaller[-1]}")
        self._open(smaller[-1])

    def _free(self) -> None:
        """Free all but the engine itself."""
        self._sets = []
        self._release.close()

    def _infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        arrays = {name: np.empty((len(images), *shape), np.float32) for name, shape in self._shapes.items()}
        waiting: list[tuple[Buffers, int]] = []
        try:
            for number, first in enumerate(range(0, len(images), self._largest)):
                buffers = self._sets[number % SETS]
                if buffers.count:
                    self._collect(*waiting.pop(0), arrays)
                self._submit(images[first : first + self._largest], buffers)
                waiting.append((buffers, first))
            for buffers, first in waiting:
                self._collect(buffers, first, arrays)
        except BaseException:
            for buffers in self._sets:
                buffers.count = 0
            raise
        self._context.save_kernels()
        return Outputs.of(arrays)

    def _submit(self, images: npt.NDArray[np.uint8], buffers: Buffers) -> None:
        count, size = len(images), padded(len(images))
        pinned = buffers.host["image"][: size * math.prod(self._shape)]
        filled = pinned.reshape(size, *self._shape)
        filled[:count], filled[count:] = images, 0
        self._cuda.copy_in(buffers.device["image"], pinned)
        if not self._context.run(size, buffers.device):
            raise tensorrt_error(self._trt, f"TensorRT failed on {self.device}")
        for name, output in self._shapes.items():
            self._cuda.copy_out(buffers.host[name][: _size(count, output)], buffers.device[name])
        buffers.count, buffers.done = count, self._cuda.record()

    def _collect(self, buffers: Buffers, first: int, arrays: dict[str, npt.NDArray[np.float32]]) -> None:
        count, done = buffers.count, buffers.done
        buffers.count, buffers.done = 0, None
        self._cuda.wait(done)
        for name, shape in self._shapes.items():
            answers = buffers.host[name][: _size(count, shape)].view(np.float32)
            arrays[name][first : first + count] = answers.reshape(count, *shape)

    def _tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        outputs = [name for name in names if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.OUTPUT]
        return {name: tuple(self._engine.get_tensor_shape(name))[1:] for name in outputs}

    def _allocate(self, stack: ExitStack) -> Buffers:
        buffers = Buffers()
        sizes = {name: _size(self._largest, shape) for name, shape in self._shapes.items()}
        for name, size in {"image": self._largest * math.prod(self._shape), **sizes}.items():
            buffers.host[name] = self._cuda.pinned(size)
            stack.callback(self._cuda.unpin, buffers.host[name])
            buffers.device[name] = self._cuda.allocate(size)
            stack.callback(self._cuda.free, buffers.device[name])
        return buffers


def inspected_half_share(trt: ModuleType, engine: Any) -> float | None:
    """Share of layers whose first output is half precision in the engine itself; None if unknown."""
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        types = [_data_type(layer["Outputs"][0]) for layer in json.loads(text)["Layers"] if layer.get("Outputs")]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    half = sum("half" in name or "fp16" in name for name in types)
    return half / len(types) if types else None


def _data_type(output: dict[str, object]) -> str:
    """In TensorRT 10 one field has format and type, in 11 each has its own."""
    return str(output["Format/Datatype"] if "Format/Datatype" in output else output["DataType"]).lower()


def _size(count: int, shape: tuple[int, ...]) -> int:
    return count * math.prod(shape) * np.dtype(np.float32).itemsize
