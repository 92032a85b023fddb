"""OpenVINO: for any x86 or Arm CPU."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BackendError
from .backend import OUTPUTS, Outputs
from .predictions import softmax

BF16, F32 = "bf16", "f32"
MIXED, INT8 = "bf16 + f32 where unsure", "int8 + f32 where unsure"
PARTS = 2  # of a batch for each request: if other work slows one down, the others take more
SURE = 0.8  # from this confidence on, rounding was never seen to change the label


class OpenVINOBackend:
    """A graph compiled for the CPU.

    Attributes:
        shapes: Shape of each input and output by name; None for a dynamic size.
    """

    name = "openvino"
    batch_size = 8

    def __init__(self, model: bytes, precision: str, int8_model: bytes = b""):
        """Compile a graph.

        Args:
            model: ONNX file.
            precision: `BF16`, `F32`, `MIXED` or `INT8`. The last two recompute in float32 all cells whose confidence
                is below `SURE`, where rounding could change the label. A CPU without bfloat16 uses float32.
            int8_model: ONNX file of the 8-bit graph, for `INT8`.

        Raises:
            BackendError: OpenVINO is not installed or cannot load the graph.
        """
        if precision in (BF16, MIXED) and not has_bfloat16():
            precision = F32
        hint = BF16 if precision in (BF16, MIXED) else F32
        try:
            core = _openvino().Core()
            compiled = _compile(core, int8_model if precision == INT8 else model, hint, "THROUGHPUT")
            self._requests = _openvino().AsyncInferQueue(compiled)  # as many as can run in parallel
            self._float32 = None
            if precision in (MIXED, INT8):
                self._float32 = _openvino().AsyncInferQueue(_compile(core, model, F32, "LATENCY"), 1)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot load the graph: {_last_line(error)}") from None
        self.shapes = {
            name: [size.get_length() if size.is_static else None for size in port.partial_shape]
            for port in (*compiled.inputs, *compiled.outputs)
            for name in port.names
        }
        self.device = str(core.get_property("CPU", "FULL_DEVICE_NAME"))
        used = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        self.precision = precision if used == hint else used

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3).

        Raises:
            BackendError: OpenVINO fails.
        """
        outputs = self._run(self._requests, images)
        if self._float32 is not None:
            unsure = ~(softmax(outputs["logits"]).max(1) >= SURE)  # true for not-a-number too
            recomputed = self._run(self._float32, images[unsure]) if unsure.any() else {}
            for name, values in recomputed.items():
                outputs[name][unsure] = values
        return Outputs.of(outputs)

    def close(self) -> None:
        """Release the compiled graph."""
        del self._requests, self._float32

    def _run(self, requests: Any, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        """Give parts of the images to requests as these become free; each runs on its own threads."""
        parts = np.array_split(images, min(PARTS * len(requests) if len(requests) > 1 else 1, len(images)))
        names = [name for name in OUTPUTS if name in self.shapes]
        found: list[list[npt.NDArray[np.float32]]] = [[] for _ in parts]

        def keep(request: Any, index: int) -> None:
            found[index] = [np.array(request.get_tensor(name).data, np.float32) for name in names]

        requests.set_callback(keep)
        try:
            for index, part in enumerate(parts):
                requests.start_async([part], index)
            requests.wait_all()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed: {_last_line(error)}") from None
        return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*found, strict=True), strict=True)}


def has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16."""
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _compile(core: Any, model: bytes, precision: str, performance: str) -> Any:
    options = {"PERFORMANCE_HINT": performance, "INFERENCE_PRECISION_HINT": precision}
    return core.compile_model(core.read_model(model), "CPU", options)


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise BackendError(f"OpenVINO cannot be loaded ({error}): `pip install openvino`") from None
    return openvino


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1]
