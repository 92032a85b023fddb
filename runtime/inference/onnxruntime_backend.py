"""ONNX Runtime with CUDA: for an NVIDIA GPU without TensorRT."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..errors import BackendError, NotInstalledError, OutOfMemoryError, install
from .backend import BATCHES, MAX_BATCH, Outputs, Progress, backend_error, no_progress, padded
from .cuda import open_cuda
from .cuda_protocol import Gpu
from .parity import Check, is_half
from .proof import prove, require_parity, subject_of

PROVIDER = "CUDAExecutionProvider"
OPTIONS = {
    "use_tf32": "0",  # it would round float32 to 10 bits
    "cudnn_conv_algo_search": "HEURISTIC",  # the default tries all algorithms, again for each size of batch
}


class CudaBackend:
    """A graph on the first GPU, by ONNX Runtime, in batches padded to `BATCHES`."""

    name = "cuda"
    batches_at_once = 1

    def __init__(self, bundle: Bundle, device: str = "NVIDIA GPU 0"):
        """Load a bundle's graph.

        Args:
            bundle: What to run.
            device: Name of the GPU.

        Raises:
            BackendError: ONNX Runtime is not installed, has no CUDA, or cannot load the graph onto the GPU.
        """
        runtime = _onnxruntime()
        if PROVIDER not in runtime.get_available_providers():
            raise BackendError(f"this ONNX Runtime has no CUDA: pip uninstall onnxruntime, then {install('cuda')}")
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        providers = [(PROVIDER, OPTIONS)]
        try:
            with redirect_stdout(sys.stderr):  # ONNX Runtime prints to stdout, which is for results
                runtime.preload_dlls()  # CUDA's libraries, where they were installed by pip
                self._session = runtime.InferenceSession(bundle.model, options, providers=providers, enable_fallback=0)
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise backend_error(f"ONNX Runtime cannot use CUDA: {error}") from None
        if PROVIDER not in self._session.get_providers():  # it falls back to the CPU
            raise BackendError("ONNX Runtime cannot use CUDA here: check which CUDA and cuDNN it needs")
        self._session.disable_fallback()
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.device = device
        self.precision = bundle.manifest.precision.graph
        self.batch_size = MAX_BATCH

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3); where memory runs out, in smaller batches from then on.

        Raises:
            BackendError: The GPU failed.
        """
        parts, first = [], 0
        while first < len(images):
            try:
                parts.append(self._run(images[first : first + self.batch_size]))
            except OutOfMemoryError:
                if self.batch_size == BATCHES[0]:
                    raise
                self.batch_size = max(size for size in BATCHES if size < self.batch_size)
            else:
                first += len(parts[-1].logits)
        return Outputs.joined(parts)

    def close(self) -> None:
        """Release the graph."""
        del self._session

    def _run(self, images: npt.NDArray[np.uint8]) -> Outputs:
        count = len(images)
        filling = np.zeros((padded(count) - count, *images.shape[1:]), np.uint8)
        try:
            results = self._session.run(self._outputs, {"image": np.concatenate([images, filling])})
        except Exception as error:
            raise backend_error(f"ONNX Runtime failed: {error}") from None
        arrays = {
            name: np.asarray(result, np.float32)[:count] for name, result in zip(self._outputs, results, strict=True)
        }
        return Outputs.of(arrays)


def open_onnxruntime(
    bundle: Bundle, notify: Callable[[str], None], progress: Progress = no_progress, build: bool = True
) -> CudaBackend:
    """Load a bundle's graph, and check its parity on this GPU: once, if it is known which GPU and driver these are.

    Raises:
        BackendError: ONNX Runtime cannot use CUDA here.
        ParityError: It gives other answers than the model, now or as remembered.
    """
    gpu = _gpu()
    backend = CudaBackend(bundle, gpu.name) if gpu else CudaBackend(bundle)
    runner = f"ONNX Runtime {_onnxruntime().__version__} with CUDA"

    def check() -> Check:
        notify(f"checking the answers of {runner} on {backend.device}")
        return prove(backend.infer, bundle, "fp16" if is_half(bundle) else "fp32", runner)

    subject = subject_of(runner, bundle.sha256, asdict(gpu), OPTIONS) if gpu else None
    try:
        require_parity(bundle, subject, check, notify)
    except BaseException:
        backend.close()
        raise
    return backend


def _gpu() -> Gpu | None:
    """The first GPU, if a library that can describe it is installed."""
    try:
        cuda = open_cuda()
    except BackendError:
        return None
    cuda.close()
    return cuda.gpu


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise NotInstalledError(f"ONNX Runtime is not installed: {install('cuda')}") from None
    return onnxruntime
