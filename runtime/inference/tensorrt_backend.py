"""TensorRT: for an NVIDIA GPU, with the engine that `cartcls.runtime.inference.tensorrt_engine` builds."""

import json
import math
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..errors import BackendError, NoEngineError, ParityError
from ..files import replace_file
from .backend import Outputs, Progress, no_progress
from .cuda import Bytes, Cuda, open_cuda
from .parity import Check, answer_limit, compare, explain, is_half, read_reference
from .tensorrt_engine import (
    MAX_BATCH,
    RTX,
    Engine,
    Precision,
    build_engine,
    build_record_for,
    engine_directory,
    find_engine,
    load_tensorrt,
    save_engine,
)

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
    batch, the next is copied into page-locked memory and the outputs of the previous one are read from it.
    """

    name = "tensorrt"
    batch_size = SETS * MAX_BATCH
    _runtime: Any
    _engine: Any
    _context: Any

    def __init__(self, trt: ModuleType, cuda: Cuda, engine: Engine, bundle: Bundle, closes_cuda: bool = True):
        """Load an engine and allocate all memory that it needs; if that fails, everything is freed.

        Args:
            trt: The library that built the engine.
            cuda: The GPU.
            engine: Engine whose build record matches.
            bundle: The bundle that it was built from.
            closes_cuda: Whether `cuda` is closed with it.

        Raises:
            BackendError: The engine or its memory cannot be loaded.
        """
        self._cuda = cuda
        self.device = cuda.gpu.name
        self.precision = engine.record.precision
        self._shape = (bundle.height, bundle.width, 3)
        with ExitStack() as stack:
            if closes_cuda:
                stack.callback(cuda.close)
            stack.callback(self._delete_engine)
            self._log = trt.Logger(trt.Logger.ERROR)  # outlives the runtime
            try:
                self._runtime = trt.Runtime(self._log)
            except TypeError:  # raised by the bindings where there is no runtime
                raise BackendError(f"{trt.__name__} {trt.__version__} cannot run on {cuda.gpu.name}") from None
            self._engine = self._runtime.deserialize_cuda_engine(engine.data)
            if self._engine is None:
                raise BackendError(f"{engine.file} cannot be loaded: remove it, and it is rebuilt")
            self._context = self._create_context(trt, engine, stack)
            if self._context is None:
                raise BackendError(f"{engine.file} needs more memory than {cuda.gpu.name} has free")
            self._shapes = self._tensor_shapes(trt)
            self._sets = [self._allocate(stack) for _ in range(SETS)]
            stack.callback(self._synchronize)
            self._release = stack.pop_all()
        self.half_share = _inspected_half_share(trt, self._engine)

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3) for any N.

        Raises:
            BackendError: The GPU failed.
        """
        arrays = {name: np.empty((len(images), *shape), np.float32) for name, shape in self._shapes.items()}
        waiting: list[tuple[Buffers, int]] = []
        try:
            for number, first in enumerate(range(0, len(images), MAX_BATCH)):
                buffers = self._sets[number % SETS]
                if buffers.count:
                    self._collect(*waiting.pop(0), arrays)
                self._submit(images[first : first + MAX_BATCH], buffers)
                waiting.append((buffers, first))
            for buffers, first in waiting:
                self._collect(buffers, first, arrays)
        except BaseException:
            for buffers in self._sets:
                buffers.count = 0
            raise
        return Outputs(arrays["logits"], arrays["features"], arrays.get("cams"))

    def close(self) -> None:
        """Free all memory."""
        self._release.close()

    def _submit(self, images: npt.NDArray[np.uint8], buffers: Buffers) -> None:
        pinned = buffers.host["image"][: images.nbytes]
        np.copyto(pinned.reshape(images.shape), images)
        self._cuda.copy_in(buffers.device["image"], pinned)
        ready = self._context.set_input_shape("image", images.shape)
        for name, address in buffers.device.items():
            ready = self._context.set_tensor_address(name, address) and ready
        if not ready or not self._context.execute_async_v3(self._cuda.stream):
            raise BackendError(f"TensorRT failed on {self.device}")
        for name, shape in self._shapes.items():
            self._cuda.copy_out(buffers.host[name][: _size(len(images), shape)], buffers.device[name])
        buffers.count, buffers.done = len(images), self._cuda.record()

    def _collect(self, buffers: Buffers, first: int, arrays: dict[str, npt.NDArray[np.float32]]) -> None:
        count, buffers.count = buffers.count, 0
        self._cuda.wait(buffers.done)
        for name, shape in self._shapes.items():
            answers = buffers.host[name][: _size(count, shape)].view(np.float32)
            arrays[name][first : first + count] = answers.reshape(count, *shape)

    def _synchronize(self) -> None:
        """Wait for all that is on the stream, before the memory that it uses is freed."""
        self._cuda.wait(self._cuda.record())

    def _delete_engine(self) -> None:
        """Delete TensorRT's objects in their order, before CUDA is closed."""
        self._sets = []
        self._context = self._engine = self._runtime = None

    def _create_context(self, trt: ModuleType, engine: Engine, stack: ExitStack) -> Any:
        if trt.__name__ != RTX:
            return self._engine.create_execution_context()
        # TensorRT for RTX compiles its kernels here, and others in the background unless EAGER: what parity was checked
        # on must be what runs. The cache makes the next start short.
        file = engine.file.with_suffix(".kernels")
        config = self._engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        cache = config.create_runtime_cache()
        with suppress(OSError):
            cache.deserialize(file.read_bytes())  # false for another machine's, which is refilled
        config.set_runtime_cache(cache)

        def save() -> None:
            with suppress(OSError):
                replace_file(file, bytes(cache.serialize()))

        stack.callback(save)
        return self._engine.create_execution_context(config)

    def _tensor_shapes(self, trt: ModuleType) -> dict[str, tuple[int, ...]]:
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        outputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
        return {name: tuple(self._engine.get_tensor_shape(name))[1:] for name in outputs}

    def _allocate(self, stack: ExitStack) -> Buffers:
        buffers = Buffers()
        sizes = {name: _size(MAX_BATCH, shape) for name, shape in self._shapes.items()}
        for name, size in {"image": MAX_BATCH * math.prod(self._shape), **sizes}.items():
            buffers.host[name] = self._cuda.pinned(size)
            stack.callback(self._cuda.unpin, buffers.host[name])
            buffers.device[name] = self._cuda.allocate(size)
            stack.callback(self._cuda.free, buffers.device[name])
        return buffers


def open_tensorrt(
    bundle: Bundle, notify: Callable[[str], None], progress: Progress = no_progress, build: bool = True
) -> TensorRTBackend:
    """Load the latest engine of a bundle whose build record matches; build one if none does.

    Args:
        bundle: Bundle to run.
        notify: Called with the reason why an engine is built.
        progress: See `build_engine`.
        build: Whether an engine may be built; it takes minutes.

    Raises:
        NoEngineError: No engine matches, and none may be built.
        BackendError: There is no GPU or no TensorRT.
        ParityError: The engine that was built gives other answers than the model.
    """
    trt = load_tensorrt()
    cuda = open_cuda()
    try:
        precision: Precision = "fp16" if is_half(bundle) else "fp32"
        wanted = build_record_for(trt, bundle, precision, cuda.gpu)
        engine, reason = find_engine(engine_directory(bundle), wanted)
        if engine is None and not build:
            raise NoEngineError(f"no engine matches ({reason or 'none was built'}): run `cartcls export`")
        if engine is None:
            notify(f"building an engine ({precision}) for {cuda.gpu.name}" + (f" again: {reason}" if reason else ""))
            engine, _, _ = build_and_check(trt, cuda, bundle, precision, bundle.model, progress)
            try:
                save_engine(engine)
            except BackendError as error:
                notify(f"the next start builds the engine again: {error}")
    except BaseException:
        cuda.close()
        raise
    return TensorRTBackend(trt, cuda, engine, bundle)


def build_and_check(
    trt: ModuleType, cuda: Cuda, bundle: Bundle, precision: Precision, graph: bytes, progress: Progress = no_progress
) -> tuple[Engine, Check, float | None]:
    """Build an engine for the GPU, and check its parity on the labelled cells in the bundle.

    They are repeated to fill every buffer, with a remainder.

    Args:
        trt: `tensorrt` or `tensorrt_rtx`.
        cuda: The GPU.
        bundle: The bundle.
        precision: Of the engine.
        graph: The bundle's graph, retyped for that precision.
        progress: See `build_engine`.

    Returns:
        The engine, its parity, and the share of its layers that really run in half precision, None if unknown.

    Raises:
        BackendError: It cannot be built or loaded here.
        BundleError: The bundle has no labelled cells.
        ParityError: It gives other answers than the model.
    """
    reference = read_reference(bundle)
    reference = reference.repeated(SETS * MAX_BATCH // len(reference.labels) + 1)
    record = build_record_for(trt, bundle, precision, cuda.gpu)
    engine = build_engine(trt, graph, record, (bundle.height, bundle.width), engine_directory(bundle), progress)
    backend = TensorRTBackend(trt, cuda, engine, bundle, closes_cuda=False)
    try:
        runner = f"{record.library} on {cuda.gpu.name}"
        check = compare(
            precision, runner, backend.infer, reference, answer_limit(bundle, precision), len(reference.labels)
        )
    finally:
        backend.close()
    if not check.passed:
        raise ParityError(f"the engine gives other answers than the model and is not kept: {explain(check)}")
    return engine, check, backend.half_share


def _inspected_half_share(trt: ModuleType, engine: Any) -> float | None:
    """Share of layers whose first output is half precision in the engine itself; None if unknown."""
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        layers = [layer for layer in json.loads(text)["Layers"] if layer.get("Outputs")]
        formats = [str(layer["Outputs"][0]["Format/Datatype"]) for layer in layers]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    half = sum("Half" in name or "FP16" in name for name in formats)
    return half / len(formats) if formats else None


def _size(count: int, shape: tuple[int, ...]) -> int:
    return count * math.prod(shape) * np.dtype(np.float32).itemsize
