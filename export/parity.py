"""Proof that an exported graph gives the same answers as the PyTorch model it came from."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from ..runtime.backend import Outputs
from ..runtime.classify import softmax
from ..runtime.errors import ParityError
from ..runtime.openvino_backend import OpenVINOBackend
from .onnx_graph import emulate_half

FLOAT32_LIMIT = 0.001
HALF_LIMIT = 0.02
RIGHT_ANSWERS_LIMIT = 1
CAM_LIMIT = 0.02
BATCH = 16

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Check:
    """How one graph compares with PyTorch in float32 on N labelled cells.

    Attributes:
        graph: Which graph.
        runner: What ran it, and in which precision.
        count: N.
        max_probability_difference: Largest |Δp| over all cells and classes.
        limit: What it may be.
        max_logit_difference: Largest |Δlogit|.
        correct: Right answers of the graph.
        reference_correct: Right answers of PyTorch.
        cam_sum_error: Largest |Σ cams + bias − logit|, as a share of the largest |logit|.
    """

    graph: str
    runner: str
    count: int
    max_probability_difference: float
    limit: float
    max_logit_difference: float
    correct: int
    reference_correct: int
    cam_sum_error: float

    @property
    def passed(self) -> bool:
        """Whether the graph may ship."""
        return (
            self.max_probability_difference <= self.limit
            and abs(self.correct - self.reference_correct) <= RIGHT_ANSWERS_LIMIT
            and self.cam_sum_error <= CAM_LIMIT
        )


@dataclass(frozen=True)
class Reference:
    """What PyTorch says in float32.

    Attributes:
        images: RGB, uint8, (N, H, W, 3).
        labels: True class indices, (N,).
        logits: float32, (N, K).
        bias: Bias of the head, float32, (K,).
    """

    images: Images
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def prove(reference: Reference, float32_graph: bytes, shipped_graph: bytes, half: bool) -> list[dict[str, Any]]:
    """Compare the graphs with the reference.

    Args:
        reference: Cells and PyTorch's answers.
        float32_graph: The float32 export, run by ONNX Runtime.
        shipped_graph: The graph that ships, run by OpenVINO as on the edge.
        half: Whether the shipped graph is half precision; then its rounding is emulated too.

    Returns:
        The checks, ready for `bundle.json`.

    Raises:
        ParityError: Naming the checks that failed, with their figures.
    """
    float32 = _compare("float32", "ONNX Runtime, float32", _onnxruntime(float32_graph), reference, FLOAT32_LIMIT)
    checks = [float32]
    name = "half" if half else "float32"
    if half:
        emulated = _onnxruntime(emulate_half(shipped_graph))
        checks.append(_compare(name, "ONNX Runtime, rounding to float16 emulated", emulated, reference, HALF_LIMIT))
    backend = OpenVINOBackend(shipped_graph)
    checks.append(_compare(name, f"OpenVINO, {backend.precision}", backend.infer, reference, HALF_LIMIT))
    backend.close()
    if failed := [check for check in checks if not check.passed]:
        raise ParityError("the exported graph gives other answers than the model: " + "; ".join(map(_explain, failed)))
    return [asdict(check) for check in checks]


def _compare(graph: str, runner: str, infer: Callable[[Images], Outputs], reference: Reference, limit: float) -> Check:
    outputs = [infer(reference.images[i : i + BATCH]) for i in range(0, len(reference.images), BATCH)]
    logits = np.concatenate([output.logits for output in outputs])
    probability_difference = np.abs(softmax(logits) - softmax(reference.logits)).max()
    cams = [output.cams for output in outputs if output.cams is not None]
    sums = np.concatenate(cams).sum((2, 3), dtype=np.float64) + reference.bias if cams else logits
    return Check(
        graph,
        runner,
        len(logits),
        float(probability_difference),
        limit,
        float(np.abs(logits - reference.logits).max()),
        int((logits.argmax(1) == reference.labels).sum()),
        int((reference.logits.argmax(1) == reference.labels).sum()),
        float(np.abs(sums - logits).max() / np.abs(logits).max()),
    )


def _onnxruntime(model: bytes) -> Callable[[Images], Outputs]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def infer(images: Images) -> Outputs:
        arrays = {name: np.asarray(a) for name, a in zip(names, session.run(None, {"image": images}), strict=True)}
        return Outputs(arrays["logits"], arrays["features"], arrays.get("cams"))

    return infer


def _explain(check: Check) -> str:
    return (
        f"{check.graph} graph by {check.runner}: |Δp| {check.max_probability_difference:.4f} (limit {check.limit}),"
        f" {check.correct} of {check.count} right (PyTorch {check.reference_correct}),"
        f" heat maps off their logits by {check.cam_sum_error:.1%}"
    )
