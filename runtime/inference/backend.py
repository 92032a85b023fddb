"""What runs a bundle's graph: a protocol of two methods, and its outputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..errors import BackendError, OutOfMemoryError

BATCHES = (1, 8, 32)  # all sizes of batch that run on a GPU: others are padded, so that parity was checked on each
MAX_BATCH = BATCHES[-1]
NO_MEMORY = ("out of memory", "outofmemory", "bad alloc", "failed to allocate")

Progress = Callable[[str, int, int], None]


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
    """

    logits: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    cams: npt.NDArray[np.float32] | None
    recomputed: npt.NDArray[np.bool_] | None = None

    @staticmethod
    def joined(parts: "Sequence[Outputs]") -> "Outputs":
        """The outputs of several batches as one."""
        cams = [part.cams for part in parts if part.cams is not None]
        return Outputs(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.features for part in parts]),
            np.concatenate(cams) if cams else None,
        )

    def replaced(self, chosen: npt.NDArray[np.bool_], others: "Outputs") -> "Outputs":
        """These outputs, with those of `chosen` cells from another backend, marked as `recomputed`."""
        logits, features, cams = self.logits.copy(), self.features.copy(), None
        logits[chosen], features[chosen] = others.logits, others.features
        if self.cams is not None and others.cams is not None:
            cams = self.cams.copy()
            cams[chosen] = others.cams
        return Outputs(logits, features, cams, chosen)


class Backend(Protocol):
    """A loaded graph.

    Attributes:
        name: Such as `openvino`.
        device: Name of the processor.
        precision: Precision that the compiled model really uses.
        batch_size: Best number of images at once.
    """

    name: str
    device: str
    precision: str
    batch_size: int

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3)."""
        ...

    def close(self) -> None:
        """Release its resources."""
        ...
