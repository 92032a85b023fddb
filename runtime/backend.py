"""What runs a bundle's graph: a protocol of two methods, and the choice between its implementations."""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .bundle import INT8_MODEL, Bundle, read_bundle_file
from .errors import BackendError, NoEngineError, NotInstalledError

BACKENDS = ("auto", "tensorrt", "cuda", "openvino")

Progress = Callable[[str, int, int], None]


def no_progress(phase: str, step: int, steps: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Outputs:
    """What the graph gives for N images.

    Attributes:
        logits: float32, (N, K).
        features: float32, (N, 512).
        cams: Class activation maps, float32, (N, K, h, w); None where the model's head has none.
        again: Whether a cell was computed again elsewhere, because the backend gave not-a-number, bool, (N,); None
            where none was.
    """

    logits: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    cams: npt.NDArray[np.float32] | None
    again: npt.NDArray[np.bool_] | None = None

    @staticmethod
    def joined(parts: "Sequence[Outputs]") -> "Outputs":
        """The outputs of several batches as one."""
        cams = [part.cams for part in parts if part.cams is not None]
        return Outputs(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.features for part in parts]),
            np.concatenate(cams) if cams else None,
        )

    def replaced(self, chosen: npt.NDArray[np.bool_], others: "Outputs") -> "Outputs":
        """These outputs, those of `chosen` cells by another backend, and marked as `again`."""
        logits, features, cams = self.logits.copy(), self.features.copy(), None
        logits[chosen], features[chosen] = others.logits, others.features
        if self.cams is not None and others.cams is not None:
            cams = self.cams.copy()
            cams[chosen] = others.cams
        return Outputs(logits, features, cams, chosen)


class Backend(Protocol):
    """A loaded graph.

    Attributes:
        name: Such as `openvino`.
        device: Name of the processor.
        precision: What the compiled model really computes in.
        batch_size: Number of images that it takes best at once.
    """

    name: str
    device: str
    precision: str
    batch_size: int

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3)."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def open_backend(
    bundle: Bundle,
    name: str = "auto",
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress = no_progress,
    build: bool = True,
) -> Backend:
    """Load a bundle's graph.

    Args:
        bundle: What to run.
        name: One of `BACKENDS`; `auto` takes TensorRT, else CUDA by ONNX Runtime, else OpenVINO on the CPU.
        tell: Called with a line on what was chosen and why, and on what takes long.
        progress: Called while an engine is built; see `cartcls.runtime.engine`.
        build: Whether an engine may be built.

    Raises:
        BackendError: The backend is unknown, not installed, or cannot load the graph.
    """
    if name not in BACKENDS:
        raise BackendError(f"{name!r} is not a backend: use one of {', '.join(BACKENDS)}")
    if name == "openvino":
        return _open_openvino(bundle)
    reasons = []
    for candidate, (installed, open_candidate) in _GPU_BACKENDS.items():
        if name not in ("auto", candidate):
            continue
        try:
            if name == "auto" and not installed():
                raise NotInstalledError("not installed")
            opened = open_candidate(bundle, tell, progress, build)
        except BackendError as error:
            if name == candidate or isinstance(error, NoEngineError):
                raise
            reasons.append(f"{candidate}: {error}")
        else:
            if reasons:
                tell(f"not by {'; '.join(reasons)}")
            return opened
    tell(f"on the CPU, not by {'; '.join(reasons)}")
    return _open_openvino(bundle)


def _tensorrt_is_installed() -> bool:
    return any(importlib.util.find_spec(name) for name in ("tensorrt", "tensorrt_rtx"))


def _onnxruntime_gpu_is_installed() -> bool:
    return any(importlib.metadata.distributions(name="onnxruntime-gpu"))


def _open_tensorrt(bundle: Bundle, tell: Callable[[str], None], progress: Progress, build: bool) -> Backend:
    from .tensorrt_backend import open_tensorrt

    return open_tensorrt(bundle, tell, progress, build)


def _open_cuda(bundle: Bundle, tell: Callable[[str], None], progress: Progress, build: bool) -> Backend:
    from .onnxruntime_backend import CudaBackend

    return CudaBackend(bundle)


_GPU_BACKENDS = {
    "tensorrt": (_tensorrt_is_installed, _open_tensorrt),
    "cuda": (_onnxruntime_gpu_is_installed, _open_cuda),
}


def _open_openvino(bundle: Bundle) -> Backend:
    from .openvino_backend import INT8, OpenVINOBackend

    int8_model = read_bundle_file(bundle, INT8_MODEL) if bundle.cpu_precision == INT8 else b""
    backend = OpenVINOBackend(bundle.model, bundle.cpu_precision, int8_model)
    for port, shape in {
        "image": [None, bundle.height, bundle.width, 3],
        "logits": [None, len(bundle.classes)],
    }.items():
        if backend.shapes.get(port) != shape:
            raise BackendError(f"the graph of {bundle.directory} does not fit its {port} {shape}: export it again")
    return backend
