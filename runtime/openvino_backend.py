"""OpenVINO: any x86 or Arm CPU, with no GPU."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .backend import Outputs
from .classify import softmax
from .errors import BackendError

BF16, F32 = "bf16", "f32"
MIXED = "bf16 + f32 where unsure"
SURE = 0.8  # above it, what bfloat16 moves a logit by moves a probability by less than a hundredth


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
            precision: `BF16`, `F32`, or `MIXED`: bfloat16, and what is less than `SURE` of its label again in float32,
                for there rounding can turn an answer. Where the CPU has no bfloat16, it is float32 in any case.

        Raises:
            BackendError: OpenVINO is not installed or does not take the graph.
        """
        mixed = precision == MIXED and has_bfloat16()
        try:
            core = _openvino().Core()
            graph = core.read_model(model)
            first = BF16 if mixed or (precision == BF16 and has_bfloat16()) else F32
            self._request = _compile(core, graph, first)
            self._exact = _compile(core, graph, F32) if mixed else None
        except RuntimeError as error:
            raise BackendError(f"OpenVINO does not take the graph: {_last_line(error)}") from None
        compiled = self._request.get_compiled_model()
        self.shapes = {
            name: [size.get_length() if size.is_static else None for size in port.partial_shape]
            for port in (*compiled.inputs, *compiled.outputs)
            for name in port.names
        }
        self.device = str(core.get_property("CPU", "FULL_DEVICE_NAME"))
        self.precision: str = MIXED if mixed else compiled.get_property("INFERENCE_PRECISION_HINT").to_string()

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3).

        Raises:
            BackendError: OpenVINO fails.
        """
        outputs = self._run(self._request, images)
        if self._exact:
            unsure = ~(softmax(outputs["logits"]).max(1) >= SURE)  # so is what is not a number
            again = self._run(self._exact, images[unsure]) if unsure.any() else {}
            for name, values in again.items():
                outputs[name][unsure] = values
        return Outputs(outputs["logits"], outputs["features"], outputs.get("cams"))

    def close(self) -> None:
        """Give back the compiled graph."""
        del self._request, self._exact

    def _run(self, request: Any, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        try:
            results = request.infer([images])
            return {
                name: np.array(results[name], np.float32)
                for name in ("logits", "features", "cams")
                if name in self.shapes
            }
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed: {_last_line(error)}") from None


def has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16."""
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _compile(core: Any, graph: Any, precision: str) -> Any:
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    return core.compile_model(graph, "CPU", options).create_infer_request()


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise BackendError(f"OpenVINO cannot be loaded ({error}): `pip install openvino`") from None
    return openvino


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1]
