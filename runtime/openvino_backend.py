"""OpenVINO: any x86 or Arm CPU, with no GPU."""

import numpy as np
import numpy.typing as npt

from .backend import Outputs
from .errors import BackendError


class OpenVINOBackend:
    """A graph compiled for the CPU, in bfloat16 where the CPU computes in it, else in float32."""

    name = "openvino"
    batch_size = 8

    def __init__(self, model: bytes):
        """Compile a graph.

        Args:
            model: ONNX file.

        Raises:
            BackendError: OpenVINO is not installed or does not take the graph.
        """
        try:
            import openvino
        except ImportError as error:
            raise BackendError(f"OpenVINO cannot be loaded ({error}): `pip install openvino`") from None
        core = openvino.Core()
        try:
            graph = core.read_model(model)
            self._outputs = [name for name in ("logits", "features", "cams") if name in _names(graph)]
            self._compiled = core.compile_model(graph, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
        except RuntimeError as error:
            raise BackendError(f"OpenVINO does not take the graph: {str(error).strip().splitlines()[-1]}") from None
        self._request = self._compiled.create_infer_request()
        self.device = str(core.get_property("CPU", "FULL_DEVICE_NAME"))
        self.precision = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3)."""
        results = self._request.infer([images])
        arrays = {name: np.array(results[name], np.float32) for name in self._outputs}
        return Outputs(arrays["logits"], arrays["features"], arrays.get("cams"))

    def close(self) -> None:
        """Give back the compiled graph."""
        del self._request, self._compiled


def _names(graph: object) -> set[str]:
    return {name for output in graph.outputs for name in output.names}  # pyright: ignore[reportAttributeAccessIssue]
