"""Proof that an exported graph gives the same answers as the PyTorch model it came from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from ..runtime.backend import Outputs
from ..runtime.classify import softmax
from ..runtime.errors import ParityError
from ..runtime.openvino_backend import OpenVINOBackend, supported_precisions
from .onnx_graph import emulate_half

FLOAT32_LIMIT = 0.001
HALF_LIMIT = 0.02
RIGHT_ANSWERS_LIMIT = 1
FLOAT32_CAM_LIMIT = 1e-4
HALF_CAM_LIMIT = 0.02
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
        passed: Whether all that holds.
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

    passed: bool


@dataclass(frozen=True)
class Proof:
    """What was compared, and what follows for the edge.

    Attributes:
        checks: All comparisons; a faster precision of the CPU that gave other answers is among them.
        cpu_precision: The fastest precision in which OpenVINO gives the same answers on a CPU.
    """

    checks: list[Check]
    cpu_precision: str


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


def prove(reference: Reference, float32_graph: bytes, shipped_graph: bytes, half: bool) -> Proof:
    """Compare the graphs with the reference.

    Args:
        reference: Cells and PyTorch's answers.
        float32_graph: The float32 export, run by ONNX Runtime.
        shipped_graph: The graph that ships, run by OpenVINO as on the edge: in bfloat16 if this CPU computes in
            it and the answers stay the same, else in float32.
        half: Whether the shipped graph is half precision; then its rounding is emulated too.

    Raises:
        ParityError: Naming the checks that failed, with their figures.
    """
    checks = [_compare("float32", "ONNX Runtime, float32", _onnxruntime(float32_graph), reference, FLOAT32_LIMIT)]
    name = "half" if half else "float32"
    if half:
        emulated = _onnxruntime(emulate_half(shipped_graph))
        checks.append(_compare(name, "ONNX Runtime, float16 rounding emulated", emulated, reference, HALF_LIMIT))
    required = list(checks)
    precision = ""
    for precision in supported_precisions():
        backend = OpenVINOBackend(shipped_graph, precision)
        check = _compare(name, f"OpenVINO, {precision}", backend.infer, reference, HALF_LIMIT)
        backend.close()
        checks.append(check)
        if check.passed:
            break
    required.append(checks[-1])
    if failed := [check for check in required if not check.passed]:
        raise ParityError("the exported graph gives other answers than the model: " + "; ".join(map(_explain, failed)))
    return Proof(checks, precision)


def _compare(graph: str, runner: str, infer: Callable[[Images], Outputs], reference: Reference, limit: float) -> Check:
    outputs = [infer(reference.images[i : i + BATCH]) for i in range(0, len(reference.images), BATCH)]
    logits = np.concatenate([output.logits for output in outputs])
    cams = [output.cams for output in outputs if output.cams is not None]
    sums = np.concatenate(cams).sum((2, 3), dtype=np.float64) + reference.bias if cams else logits
    probability_difference = float(np.abs(softmax(logits) - softmax(reference.logits)).max())
    correct = int((logits.argmax(1) == reference.labels).sum())
    reference_correct = int((reference.logits.argmax(1) == reference.labels).sum())
    cam_sum_error = float(np.abs(sums - logits).max() / np.abs(logits).max())
    return Check(
        graph=graph,
        runner=runner,
        count=len(logits),
        max_probability_difference=probability_difference,
        limit=limit,
        max_logit_difference=float(np.abs(logits - reference.logits).max()),
        correct=correct,
        reference_correct=reference_correct,
        cam_sum_error=cam_sum_error,
        passed=probability_difference <= limit
        and abs(correct - reference_correct) <= RIGHT_ANSWERS_LIMIT
        and cam_sum_error <= (FLOAT32_CAM_LIMIT if limit == FLOAT32_LIMIT else HALF_CAM_LIMIT),
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
