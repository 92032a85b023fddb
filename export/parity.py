"""Parity: whether an exported graph gives the same answers as the PyTorch model it came from."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import onnxruntime

from ..runtime.bundle.manifest import ParityCheck
from ..runtime.errors import ParityError
from ..runtime.inference.backend import Outputs
from ..runtime.inference.openvino_backend import BF16, F32, INT8, MIXED, OpenVINOBackend, has_bfloat16
from ..runtime.inference.parity import FLOAT32_LIMIT, HALF_LIMIT, INT8_LIMIT, Check, Images, Reference, compare, explain
from .retype import emulate_half

CELLS_PER_CLASS = 2  # in the file of parity cells


@dataclass(frozen=True)
class ParityReport:
    """The parity checks, and the CPU precision that follows.

    Attributes:
        checks: All checks, also those of faster CPU precisions that gave other answers.
        cpu_precision: The fastest precision in which OpenVINO gives the same answers on a CPU.
    """

    checks: list[Check]
    cpu_precision: str

    @property
    def has_int8(self) -> bool:
        """Whether the 8-bit graph ships."""
        return self.cpu_precision == INT8

    def recorded(self, paths: Sequence[str]) -> list[ParityCheck]:
        """The checks as they go into `bundle.json`.

        Args:
            paths: Path of each cell.
        """
        return [_recorded(check, paths) for check in self.checks]


def check_parity(
    reference: Reference, float32_graph: bytes, shipped_graph: bytes, half: bool, int8_graph: bytes = b""
) -> ParityReport:
    """Compare the graphs with the reference.

    Args:
        reference: Cells and PyTorch's logits.
        float32_graph: The float32 export, run by ONNX Runtime.
        shipped_graph: The graph that ships, run by OpenVINO as on the edge: in bfloat16 if this CPU computes in
            it and the answers stay the same, else with unsure cells in float32, else all in float32.
        half: Whether the shipped graph is half precision; then its rounding is emulated too.
        int8_graph: The 8-bit graph, if there is one: it is tried first, its unsure cells by the shipped graph.

    Raises:
        ParityError: Naming the checks that failed, with their figures.
    """
    checks = [compare("float32", "ONNX Runtime, float32", onnxruntime_infer(float32_graph), reference, FLOAT32_LIMIT)]
    name = "half" if half else "float32"
    if half:
        emulated = onnxruntime_infer(emulate_half(shipped_graph))
        checks.append(compare(name, "ONNX Runtime, float16 rounding emulated", emulated, reference, HALF_LIMIT))
    required = list(checks)
    precision = ""
    for precision in [INT8] * bool(int8_graph) + [BF16, MIXED] * has_bfloat16() + [F32]:
        backend = OpenVINOBackend(shipped_graph, precision, int8_graph)
        graph, limit = ("int8", INT8_LIMIT) if precision == INT8 else (name, HALF_LIMIT)
        check = compare(graph, f"OpenVINO, {precision}", backend.infer, reference, limit)
        backend.close()
        checks.append(check)
        if check.passed:
            break
    required.append(checks[-1])
    if failed := [check for check in required if not check.passed]:
        raise ParityError("the exported graph gives other answers than the model: " + "; ".join(map(explain, failed)))
    return ParityReport(checks, precision)


def onnxruntime_infer(model: bytes) -> Callable[[Images], Outputs]:
    """Run a graph by ONNX Runtime on the CPU."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def infer(images: Images) -> Outputs:
        arrays = {name: np.asarray(a) for name, a in zip(names, session.run(None, {"image": images}), strict=True)}
        return Outputs.of(arrays)

    return infer


def _recorded(check: Check, paths: Sequence[str]) -> ParityCheck:
    given = {name: value for name, value in asdict(check).items() if value is not None}
    return ParityCheck(**{**given, "changed": [paths[index] for index in check.changed]})
