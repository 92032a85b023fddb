"""What runs a bundle's graph: a protocol of two methods, and its outputs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..errors import BackendError, OutOfMemoryError

BATCHES = (1, 8, 32)  # all sizes of batch that run on a GPU: others are padded, so that parity was checked on each
MAX_BATCH = BATCHES[-1]
OUTPUTS = ("logits", "features", "cams", "boxes", "attention")  # all names that those of a graph can have
NO_MEMORY = ("out of memory", "outofmemory", "bad alloc", "failed to allocate")

Progress = Callable[[str, int, int], None]
Array = npt.NDArray[np.float32]


def no_progress(phase: str, step: int, steps: int) -> None:
    """Ignore the progress."""


def padded(count: int) -> int:
    """The smallest of `BATCHES` that holds so many images."""
    return next(size for size in BATCHES if size >= count)


def backend_error(text: str) -> BackendError:
    """The error with this message; an `OutOfMemoryError` where it says so."""
    words = text.lower().replace("_", " ")
    return OutOfMemoryError(text) if any(sign in words for sign in NO_MEMORY) else BackendError(text)


@dataclass(frozen=True)
class Outputs:
    """What the graph gives for N images.

    Attributes:
        logits: float32, (N, K).
        features: For the distance to the training cells, float32, (N, D).
        cams: Class activation maps, float32, (N, K, h, w); None where the model's head has none.
        recomputed: Whether a cell was recomputed on the CPU, because the backend gave not-a-number, bool, (N,); None
            if none was.
        boxes: Box of each cell: x and y of the upper left corner, width and height, in shares of the picture, float32,
            (N, 4); None where the model gives none.
        attention: Spatial attention, in 0…1, float32, (N, 1, h, w); None where the model has none.
    """

    logits: Array
    features: Array
    cams: Array | None
    recomputed: npt.NDArray[np.bool_] | None = None
    boxes: Array | None = None
    attention: Array | None = None

    @staticmethod
    def of(arrays: Mapping[str, Array]) -> "Outputs":
        """The outputs of a graph by their names; all but logits and features may be missing."""
        cams, boxes, attention = map(arrays.get, ("cams", "boxes", "attention"))
        return Outputs(arrays["logits"], arrays["features"], cams, boxes=boxes, attention=attention)

    @staticmethod
    def joined(parts: "Sequence[Outputs]") -> "Outputs":
        """The outputs of several batches as one."""
        return Outputs(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.features for part in parts]),
            _joined(part.cams for part in parts),
            boxes=_joined(part.boxes for part in parts),
            attention=_joined(part.attention for part in parts),
        )

    def replaced(self, chosen: npt.NDArray[np.bool_], others: "Outputs") -> "Outputs":
        """These outputs, with those of `chosen` cells from another backend, marked as `recomputed`."""
        logits, features = self.logits.copy(), self.features.copy()
        logits[chosen], features[chosen] = others.logits, others.features
        cams = _replaced(self.cams, chosen, others.cams)
        boxes = _replaced(self.boxes, chosen, others.boxes)
        return Outputs(logits, features, cams, chosen, boxes, _replaced(self.attention, chosen, others.attention))


def _joined(parts: Iterable[Array | None]) -> Array | None:
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if given else None


def _replaced(own: Array | None, chosen: npt.NDArray[np.bool_], others: Array | None) -> Array | None:
    if own is None or others is None:
        return None
    copy = own.copy()
    copy[chosen] = others
    return copy


class Backend(Protocol):
    """A loaded graph.

    Attributes:
        name: Such as `openvino`.
        device: Name of the processor.
        precision: Precision that the compiled model really uses.
        batch_size: Best number of images at once.
        batches_at_once: How many batches are best given to it at the same time, each by a thread of its own; where it
            is 1, only one thread at a time may ask it.
    """

    name: str
    device: str
    precision: str
    batch_size: int
    batches_at_once: int

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3)."""
        ...

    def close(self) -> None:
        """Release its resources."""
        ...
