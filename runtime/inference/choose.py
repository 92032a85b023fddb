"""The choice of the backend on this machine."""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable

from ..bundle.bundle import INT8_MODEL, MODEL, Bundle
from ..compiled_store import graph_store
from ..errors import BackendError, NoEngineError, ParityError
from .backend import Backend, Progress, no_progress
from .cuda import NO_GPU, why_no_gpu
from .onnxruntime_backend import open_onnxruntime
from .openvino_backend import INT8, OpenVINOBackend
from .tensorrt_open import open_tensorrt

BACKENDS = ("auto", "tensorrt", "cuda", "openvino")


def open_backend(
    bundle: Bundle,
    name: str = "auto",
    notify: Callable[[str], None] = lambda line: None,
    progress: Progress = no_progress,
    build: bool = True,
) -> Backend:
    """Load a bundle's graph.

    Args:
        bundle: What to run.
        name: One of `BACKENDS`; `auto` takes TensorRT, else CUDA by ONNX Runtime, else OpenVINO on the CPU.
        notify: Called with messages on what was chosen and why, where there is a GPU, and on what takes long.
        progress: Called while an engine is built; see `cartcls.runtime.inference.tensorrt_engine`.
        build: Whether an engine may be built.

    Raises:
        BackendError: The backend is unknown, not installed, or cannot load the graph.
        ParityError: The backend that was asked for gives other answers than the model.
    """
    if name not in BACKENDS:
        raise BackendError(f"{name!r} is not a backend: use one of {', '.join(BACKENDS)}")
    no_gpu = why_no_gpu() == NO_GPU
    if name == "openvino" or (name == "auto" and no_gpu and sys.platform == "linux"):  # elsewhere it cannot be seen
        return open_openvino(bundle)
    reasons = []
    for candidate, (installed, open_candidate) in _GPU_BACKENDS.items():
        if name not in ("auto", candidate):
            continue
        if name == "auto" and not installed():
            reasons.append(f"{candidate} is not installed")
            continue
        try:
            opened = open_candidate(bundle, notify, progress, build)
        except (BackendError, ParityError) as error:
            if name == candidate or isinstance(error, NoEngineError):
                raise
            reasons.append(f"{candidate}: {error}")
        else:
            if reasons:
                notify(f"using {candidate}; {', '.join(reasons)}")
            return opened
    if reasons and not no_gpu:  # where there is none, the CPU is no surprise
        notify(f"using the CPU (openvino); {', '.join(reasons)}")
    return open_openvino(bundle)


def _tensorrt_is_installed() -> bool:
    return any(importlib.util.find_spec(name) for name in ("tensorrt", "tensorrt_rtx"))


def _onnxruntime_gpu_is_installed() -> bool:
    return any(importlib.metadata.distributions(name="onnxruntime-gpu"))


_GPU_BACKENDS = {
    "tensorrt": (_tensorrt_is_installed, open_tensorrt),
    "cuda": (_onnxruntime_gpu_is_installed, open_onnxruntime),
}


def open_openvino(bundle: Bundle) -> OpenVINOBackend:
    """Load a bundle's graph, or its 8-bit graph, with OpenVINO, compiled if it was compiled before.

    Raises:
        BackendError: OpenVINO is not installed, or cannot load the graph.
        BundleError: The file of the graph is missing or altered.
    """
    int8_model = bundle.file(INT8_MODEL) if bundle.cpu_precision == INT8 else b""
    backend = OpenVINOBackend(bundle.file(MODEL), bundle.cpu_precision, int8_model, graph_store())
    for port, shape in {
        "image": [None, bundle.height, bundle.width, 3],
        "logits": [None, len(bundle.classes)],
    }.items():
        if backend.shapes.get(port) != shape:
            raise BackendError(f"the graph of {bundle.directory} does not fit its {port} {shape}: export it again")
    return backend
