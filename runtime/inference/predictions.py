"""From the graph's outputs to a label, a confidence and a place to look at."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .backend import Outputs


@dataclass(frozen=True)
class Prediction:
    """What the model says of one cell.

    Attributes:
        index: Index of the class with the highest probability.
        probabilities: After temperature, float64, (K,).
        cams: Maps of all classes, float32, (K, h, w); None where the model has none.
        features: By which unlike cells are told, float32, (D,).
        again: Whether it was computed again on the CPU, because the backend gave not-a-number.
    """

    index: int
    probabilities: npt.NDArray[np.float64]
    cams: npt.NDArray[np.float32] | None
    features: npt.NDArray[np.float32]
    again: bool = False

    @property
    def confidence(self) -> float:
        """Probability of the predicted class."""
        return float(self.probabilities[self.index])

    @property
    def cam(self) -> npt.NDArray[np.float32] | None:
        """Map of the predicted class, float32, (h, w)."""
        return None if self.cams is None else self.cams[self.index]


def predictions(outputs: Outputs, temperature: float) -> Iterator[Prediction | None]:
    """Read a batch's outputs, cell by cell; None for not-a-number: no label is ever made from that."""
    for row, logits in enumerate(outputs.logits):
        if not np.isfinite(logits).all():
            yield None
            continue
        probabilities = softmax(logits[None], temperature)[0]
        index = int(probabilities.argmax())
        cams = None if outputs.cams is None else outputs.cams[row]
        again = outputs.again is not None and bool(outputs.again[row])
        yield Prediction(index, probabilities, cams, outputs.features[row], again)


def softmax(logits: npt.NDArray[np.float32], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities (N, K) of logits (N, K)."""
    scaled = logits.astype(np.float64) / temperature
    exponential = np.exp(scaled - scaled.max(1, keepdims=True))
    return exponential / exponential.sum(1, keepdims=True)
