"""ONNX Runtime with CUDA: for an NVIDIA GPU without TensorRT."""

import sys
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..errors import BackendError, NotInstalledError, install
from .backend import Outputs

PROVIDER = "CUDAExecutionProvider"


class CudaBackend:
    """A graph on the first GPU, by ONNX Runtime."""

    name = "cuda"
    batch_size = 32

    def __init__(self, bundle: Bundle):
        """Load a bundle's graph.

        Raises:
            BackendError: ONNX Runtime is not installed, has no CUDA, or cannot load the graph onto the GPU.
        """
        runtime = _onnxruntime()
        if PROVIDER not in runtime.get_available_providers():
            raise BackendError(f"this ONNX Runtime has no CUDA: pip uninstall onnxruntime, then {install('cuda')}")
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        try:
            with redirect_stdout(sys.stderr):  # ONNX Runtime prints to stdout, which is for results
                runtime.preload_dlls()  # CUDA's libraries, where they were installed by pip
                self._session = runtime.InferenceSession(bundle.model, options, providers=[PROVIDER], enable_fallback=0)
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise BackendError(f"ONNX Runtime cannot use CUDA: {error}") from None
        if PROVIDER not in self._session.get_providers():  # it falls back to the CPU
            raise BackendError("ONNX Runtime cannot use CUDA here: check which CUDA and cuDNN it needs")
        self._session.disable_fallback()
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.device = "NVIDIA GPU 0"
        self.precision = bundle.manifest.precision.graph

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3).

        Raises:
            BackendError: The GPU failed.
        """
        try:
            results = self._session.run(self._outputs, {"image": images})
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed: {error}") from None
        arrays = dict(zip(self._outputs, (np.asarray(result, np.float32) for result in results), strict=True))
        return Outputs(arrays["logits"], arrays["features"], arrays.get("cams"))

    def close(self) -> None:
        """Release the graph."""
        del self._session


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise NotInstalledError(f"ONNX Runtime is not installed: {install('cuda')}") from None
    return onnxruntime
