"""OpenVINO: any x86 or Arm CPU, with no GPU."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .backend import Outputs
from .errors import BackendError


class OpenVINOBackend:
    """A graph compiled for the CPU.

    Attributes:
        shapes: Shape of each input and output by name; None where any size goes.
    """

    name = "openvino"
    batch_size = 8

    def __init__(self, model: bytes, precision: str):
        """Compile a graph.

        Args:
            model: ONNX file.
            precision: `bf16` or `f32`; where the CPU does not compute in bfloat16, it is float32 in any case.

        Raises:
            BackendError: OpenVINO is not installed or does not take the graph.
        """
        hints = {"INFERENCE_PRECISION_HINT": precision if precision in supported_precisions() else "f32"}
        try:
            core = _openvino().Core()
            graph = core.read_model(model)
            self._compiled = core.compile_model(graph, "CPU", {"PERFORMANCE_HINT": "LATENCY", **hints})
        except RuntimeError as error:
            raise BackendError(f"OpenVINO does not take the graph: {_last_line(error)}") from None
        self.shapes = {
            name: [size.get_length() if size.is_static else None for size in port.partial_shape]
            for port in (*self._compiled.inputs, *self._compiled.outputs)
            for name in port.names
        }
        self._request = self._compiled.create_infer_request()
        self.device = str(core.get_property("CPU", "FULL_DEVICE_NAME"))
        self.precision: str = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3).

        Raises:
            BackendError: OpenVINO fails.
        """
        try:
            results = self._request.infer([images])
            arrays = {
                name: np.array(results[name], np.float32)
                for name in ("logits", "features", "cams")
                if name in self.shapes
            }
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed: {_last_line(error)}") from None
        return Outputs(arrays["logits"], arrays["features"], arrays.get("cams"))

    def close(self) -> None:
        """Give back the compiled graph."""
        del self._request, self._compiled


def supported_precisions() -> list[str]:
    """Precisions that this CPU computes in, the fastest first."""
    capabilities = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["bf16", "f32"] if "BF16" in capabilities else ["f32"]


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise BackendError(f"OpenVINO cannot be loaded ({error}): `pip install openvino`") from None
    return openvino


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1]
