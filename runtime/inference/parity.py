"""Parity: whether a graph gives the same answers as the PyTorch model it came from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain, repeat
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import PARITY_CELLS, Bundle
from ..errors import BundleError
from .backend import Array, Outputs
from .predictions import softmax

FLOAT32_LIMIT = 0.001
HALF_LIMIT = 0.02
INT8_LIMIT = 0.1
RIGHT_ANSWERS_LIMIT = 1
FLOAT32_CAM_LIMIT = 1e-4
HALF_CAM_LIMIT = 0.02
BOX_LIMITS = (0.001, 0.02, 0.1)  # of float32, half precision and 8 bits, in shares of the picture
ATTENTION_LIMITS = (0.001, 0.05, 0.2)  # likewise; it is from 0 to 1
BATCH = 16

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Reference:
    """Labelled cells, with PyTorch's logits in float32.

    Attributes:
        images: RGB, uint8, (N, H, W, 3).
        labels: True class indices, (N,).
        logits: float32, (N, K).
        bias: Bias of the head, float32, (K,).
        boxes: As those of `Outputs`.
        attention: Likewise.
    """

    images: Images
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    boxes: Array | None = None
    attention: Array | None = None

    def first_of_each_class(self, count: int) -> "Reference":
        """The first cells of each class."""
        chosen = np.concatenate([np.flatnonzero(self.labels == label)[:count] for label in np.unique(self.labels)])
        return self._of(chosen)

    def repeated(self, times: int) -> "Reference":
        """All cells, repeated that many times."""
        indices = np.tile(np.arange(len(self.labels)), times)
        return self._of(indices)

    def to_bytes(self) -> bytes:
        """As a compressed npz file."""
        file = BytesIO()
        further = {"boxes": self.boxes, "attention": self.attention}
        given = {name: array for name, array in further.items() if array is not None}
        arrays = {"images": self.images, "labels": self.labels, "logits": self.logits, "bias": self.bias, **given}
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
        return file.getvalue()

    def _of(self, indices: npt.NDArray[np.int64]) -> "Reference":
        cells = self.images[indices], self.labels[indices], self.logits[indices]
        boxes, attention = (None if array is None else array[indices] for array in (self.boxes, self.attention))
        return Reference(*cells, self.bias, boxes, attention)


def is_half(bundle: Bundle) -> bool:
    """Whether the graph of a bundle is half precision."""
    return bundle.manifest.precision.graph.startswith("half")


def answer_limit(bundle: Bundle, precision: str = "") -> float:
    """Largest allowed change of a probability: more for half precision, whose weights are rounded."""
    if precision == "int8":
        return INT8_LIMIT
    return HALF_LIMIT if is_half(bundle) else FLOAT32_LIMIT


def read_reference(bundle: Bundle) -> Reference:
    """Read the labelled cells in a bundle, on which any machine can check the parity of what it runs.

    Raises:
        BundleError: The file is missing, altered or malformed.
    """
    data = bundle.file(PARITY_CELLS).read()
    try:
        with np.load(BytesIO(data), allow_pickle=False) as arrays:
            further = (arrays.get("boxes"), arrays.get("attention"))
            return Reference(arrays["images"], arrays["labels"], arrays["logits"], arrays["bias"], *further)
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        file = bundle.directory / PARITY_CELLS
        raise BundleError(f"{file} is malformed ({error}): export the bundle again") from None


@dataclass(frozen=True)
class Check:
    """How one graph compares with PyTorch in float32 on N labelled cells.

    Attributes:
        graph: Which graph.
        runner: What ran it, and in which precision.
        count: N.
        max_probability_difference: Largest |Δp| over all cells and classes.
        limit: Its limit.
        max_logit_difference: Largest |Δlogit|.
        correct: Right labels of the graph.
        reference_correct: Right labels of PyTorch.
        cam_sum_error: Largest |Σ cams + bias − logit|, as a share of the largest |logit|.
        changed: Indices of the cells whose label differs from PyTorch's.
        passed: Whether all limits are met.
        max_box_difference: Largest difference of a number of a box, as a share of the picture; 1 where the graph gives
            none; None where PyTorch gives none.
        max_attention_difference: Likewise of a spatial attention, which is from 0 to 1.
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
    changed: list[int]
    passed: bool
    max_box_difference: float | None = None
    max_attention_difference: float | None = None


def compare(
    graph: str,
    runner: str,
    infer: Callable[[Images], Outputs],
    reference: Reference,
    limit: float,
    batches: Sequence[int] = (BATCH,),
) -> Check:
    """Compare the outputs of `infer` with the reference.

    Args:
        graph: Which graph it runs.
        runner: What runs it, and in which precision.
        infer: Takes images (N, H, W, 3).
        reference: Cells and PyTorch's logits.
        limit: Largest allowed change of a probability.
        batches: Numbers of images at once; the last one for all the rest.
    """
    outputs = infer_all(infer, reference.images, batches)
    logits = outputs.logits
    sums = logits if outputs.cams is None else outputs.cams.sum((2, 3), dtype=np.float64) + reference.bias
    probability_difference = float(np.abs(softmax(logits) - softmax(reference.logits)).max())
    correct = int((logits.argmax(1) == reference.labels).sum())
    reference_correct = int((reference.logits.argmax(1) == reference.labels).sum())
    cam_sum_error = float(np.abs(sums - logits).max() / np.abs(logits).max())
    box_difference = _difference(outputs.boxes, reference.boxes)
    attention_difference = _difference(outputs.attention, reference.attention)
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
        changed=np.flatnonzero(logits.argmax(1) != reference.logits.argmax(1)).tolist(),
        passed=probability_difference <= limit
        and abs(correct - reference_correct) <= RIGHT_ANSWERS_LIMIT
        and cam_sum_error <= (FLOAT32_CAM_LIMIT if limit == FLOAT32_LIMIT else HALF_CAM_LIMIT)
        and (box_difference or 0) <= _limit(BOX_LIMITS, limit)
        and (attention_difference or 0) <= _limit(ATTENTION_LIMITS, limit),
        max_box_difference=box_difference,
        max_attention_difference=attention_difference,
    )


def _difference(found: Array | None, expected: Array | None) -> float | None:
    """Largest difference; 1 where something is missing or no number, None where nothing is expected."""
    if expected is None:
        return None
    if found is None or found.shape != expected.shape or not np.isfinite(found).all():
        return 1.0
    return float(np.abs(found - expected).max())


def infer_all(infer: Callable[[Images], Outputs], images: Images, batches: Sequence[int] = (BATCH,)) -> Outputs:
    """Run a graph on any number of images (N, H, W, 3), in batches of these sizes; the last one for all the rest."""
    first, outputs = 0, []
    sizes = chain(batches, repeat(batches[-1]))
    while first < len(images):
        size = next(sizes)
        outputs.append(infer(images[first : first + size]))
        first += size
    return Outputs.joined(outputs)


def explain(check: Check) -> str:
    """One line on how far the answers differ."""
    return (
        f"{check.graph} graph by {check.runner}: |Δp| {check.max_probability_difference:.4f} (limit {check.limit}),"
        f" {check.correct} of {check.count} right (PyTorch {check.reference_correct}),"
        f" heat maps differ from their logits by {check.cam_sum_error:.1%}"
        + _told("boxes", check.max_box_difference, _limit(BOX_LIMITS, check.limit))
        + _told("attention", check.max_attention_difference, _limit(ATTENTION_LIMITS, check.limit))
    )


def _limit(limits: tuple[float, float, float], limit: float) -> float:
    """The one that goes with the limit of a probability."""
    return limits[0 if limit <= FLOAT32_LIMIT else 1 if limit <= HALF_LIMIT else 2]


def _told(what: str, difference: float | None, limit: float) -> str:
    return "" if difference is None else f", {what} by {difference:.4f} (limit {limit})"
