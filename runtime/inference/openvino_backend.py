"""OpenVINO: for any x86 or Arm CPU."""

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import BundleFile
from ..compiled_store import CompiledStore
from ..errors import BackendError, BundleError
from .backend import OUTPUTS, Backend, Outputs
from .predictions import softmax

BF16, F32 = "bf16", "f32"
MIXED, INT8 = "bf16 + f32 where unsure", "int8 + f32 where unsure"
M_ARENA_MAX, ARENAS = -8, 2  # of malloc.h; with one for each thread, 20 MB more are kept and nothing is faster
CONVERTER = "openvino.tools.ovc"
MARGIN = 0.4  # between the two most probable classes; from there on, rounding was never seen to change the label


class OpenVINOBackend:
    """A graph compiled for the CPU.

    Attributes:
        shapes: Shape of each input and output by name; None for a dynamic size.
        streams: Number of images that run side by side; OpenVINO chooses it for the processor and the graph.
    """

    name = "openvino"
    batch_size = 8

    def __init__(
        self,
        model: bytes | BundleFile,
        precision: str,
        int8_model: bytes | BundleFile = b"",
        store: CompiledStore | None = None,
    ):
        """Compile a graph, or load it compiled.

        Args:
            model: ONNX graph, or the file that it is read from where it was not compiled before.
            precision: `BF16`, `F32`, `MIXED` or `INT8`. The last two recompute in float32 all cells whose two most
                probable classes are nearer than `MARGIN`, where rounding could change the label. A CPU without bfloat16
                uses float32.
            int8_model: The 8-bit graph, for `INT8`.
            store: Where compiled graphs of files are kept; None: nowhere.

        Raises:
            BackendError: OpenVINO is not installed or cannot load the graph.
            BundleError: The file of the graph is missing or altered.
        """
        if precision in (BF16, MIXED) and not has_bfloat16():
            precision = F32
        hint = BF16 if precision in (BF16, MIXED) else F32
        _with_the_c_library("mallopt", M_ARENA_MAX, ARENAS)
        try:
            core = _openvino().Core()
            compiled = _compiled(core, int8_model if precision == INT8 else model, hint, "THROUGHPUT", store)
            self._graph = _Graph(compiled)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot load the graph: {_last_line(error)}") from None
        _with_the_c_library("malloc_trim", 0)  # what compiling has used and freed, about 80 MB
        self.streams = self._graph.streams
        # as many as fill all streams, and one more, so that none waits for the last image of a batch or an unsure cell
        self.batches_at_once = 1 + -(-self.streams // self.batch_size)
        self.shapes = {
            name: [size.get_length() if size.is_static else None for size in port.partial_shape]
            for port in (*compiled.inputs, *compiled.outputs)
            for name in port.names
        }
        self._float32: _Graph | None = None
        self._load_float32: Callable[[], Any] | None = lambda: _compiled(core, model, F32, "LATENCY", store)
        self._loading = threading.Lock()
        self.device = str(core.get_property("CPU", "FULL_DEVICE_NAME"))
        used = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        self.precision = precision if used == hint else used

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3).

        Raises:
            BackendError: OpenVINO fails.
        """
        try:
            outputs = self._graph.run(images)
            if recomputes(self) and (again := unsure(outputs["logits"])).any():
                for name, values in self._exact().run(images[again]).items():
                    outputs[name][again] = values
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed: {_last_line(error)}") from None
        return Outputs.of(outputs)

    def close(self) -> None:
        """See `Backend`; the compiled graph is freed with this object."""

    def _exact(self) -> "_Graph":
        """The float32 graph, which is loaded when the first unsure cell comes."""
        with self._loading:
            if self._load_float32:
                try:
                    self._float32 = _Graph(self._load_float32())
                except RuntimeError as error:
                    raise BackendError(f"OpenVINO cannot load the graph: {_last_line(error)}") from None
                except BundleError as error:
                    raise BackendError(str(error)) from None
                self._load_float32 = None  # it holds the graph as it was given
                _with_the_c_library("malloc_trim", 0)
            assert self._float32 is not None
            return self._float32


class _Graph:
    """A compiled graph, which may be run by several threads.

    Images are given to its streams one by one: two at a time are not faster, and take 50 MB more.

    Attributes:
        streams: Number of images that run side by side.
    """

    def __init__(self, compiled: Any):
        self.streams = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._names = [name for name in OUTPUTS if any(name in port.names for port in compiled.outputs)]
        self._pool = ThreadPoolExecutor(self.streams)
        self._requests: SimpleQueue[Any] = SimpleQueue()
        self._requests.put(compiled.create_infer_request())
        # the first image runs alone: OpenVINO hangs where two threads give it their first array at the same moment
        self._held_back = [compiled.create_infer_request() for _ in range(1, self.streams)]

    def run(self, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        """Outputs by name of RGB images (N, H, W, 3); OpenVINO raises `RuntimeError`."""
        found = list(self._pool.map(self._run_one, (images[index : index + 1] for index in range(len(images)))))
        return {
            name: np.concatenate(arrays) for name, arrays in zip(self._names, zip(*found, strict=True), strict=True)
        }

    def _run_one(self, image: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        request = self._requests.get()
        try:
            request.start_async([image])
            request.wait()
            return [np.array(request.get_tensor(name).data, np.float32) for name in self._names]
        finally:
            held_back, self._held_back = self._held_back, []  # before another thread can have a request
            for free in (request, *held_back):
                self._requests.put(free)


def unsure(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Cells whose two most probable classes are near each other, (N,); those with not-a-number too."""
    second, first = np.partition(softmax(logits), -2, axis=1)[:, -2:].T
    return ~(first - second >= MARGIN)


def recomputes(backend: Backend) -> bool:
    """Whether a backend computes unsure cells again in float32."""
    return backend.precision in (MIXED, INT8)


def has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16."""
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _compiled(
    core: Any, model: bytes | BundleFile, precision: str, performance: str, store: CompiledStore | None
) -> Any:
    options = {"PERFORMANCE_HINT": performance, "INFERENCE_PRECISION_HINT": precision}
    if isinstance(model, bytes) or store is None:
        return core.compile_model(core.read_model(model if isinstance(model, bytes) else model.read()), "CPU", options)
    processor = [str(core.get_property("CPU", name)) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    file = store.file(model.sha256, [_openvino().__version__, *processor, _cores(), options])
    if (kept := _kept(store, file)) is not None:
        with suppress(RuntimeError):  # of a version that does not read it: compiled anew
            return core.import_model(kept, "CPU", options)
    compiled = core.compile_model(core.read_model(model.read()), "CPU", options)
    store.save(file, compiled.export_model().getvalue())
    return compiled


def _kept(store: CompiledStore, file: Path) -> Any:
    """A compiled graph of the store, in memory of OpenVINO's own, which the loaded one shares; else None."""
    tensors: list[Any] = []

    def allocate(size: int) -> memoryview:
        tensors.append(_openvino().Tensor(_openvino().Type.u8, [size]))
        return memoryview(tensors[0].data)

    return None if store.load(file, allocate) is None else tensors[0]


def _with_the_c_library(function: str, *values: int) -> None:
    """Call a function of the GNU C library, which keeps freed memory otherwise; another one may not have it."""
    if sys.platform == "linux":
        with suppress(AttributeError):
            getattr(ctypes.CDLL(None), function)(*values)


def _cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _openvino() -> Any:
    # its converter of models, which nothing here needs, reports every import to its makers over the network
    sys.modules.setdefault(CONVERTER, None)  # pyright: ignore[reportArgumentType]
    try:
        import openvino
    except ImportError as error:
        raise BackendError(f"OpenVINO cannot be loaded ({error}): `pip install openvino`") from None
    return openvino


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1]
