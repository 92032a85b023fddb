"""How far confidences are from the share of right answers, and how far they would be by chance alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15
RESAMPLES = 1000
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Bin:
    """Cells of like confidence: how many, their mean confidence, and the share that is right."""

    count: int
    confidence: float
    accuracy: float


def reliability(probabilities: Floats, labels: npt.NDArray[np.intp], seed: int = 0) -> dict[str, Any]:
    """Figures of the confidences of N labelled cells.

    Args:
        probabilities: After temperature, (N, K).
        labels: True class indices, (N,).
        seed: Of the resampling.

    Returns:
        `count`, `accuracy`, `confidence` (mean), `brier` (all classes), and for the expected calibration error
        `ece_equal_width` and `ece_equal_mass`: `value`, 95 % bootstrap `interval`, and `perfect` and `perfect_95`, the
        mean and the 95 % quantile that a perfectly calibrated model with these confidences would show on as many cells.
    """
    random = np.random.default_rng(seed)
    confidences, correct = probabilities.max(1), probabilities.argmax(1) == labels
    figures: dict[str, Any] = {
        "count": len(labels),
        "accuracy": float(correct.mean()),
        "confidence": float(confidences.mean()),
        "brier": float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(1).mean()),
    }
    for name, edges_of in (("ece_equal_width", equal_width), ("ece_equal_mass", equal_mass)):
        drawn = [random.integers(0, len(labels), len(labels)) for _ in range(RESAMPLES)]
        resampled = [ece(confidences[i], correct[i], edges_of(confidences[i])) for i in drawn]
        edges = edges_of(confidences)
        value = ece(confidences, correct, edges)
        bias = np.mean(resampled) - value  # drawing cells twice makes bins look farther off than they are
        perfect = [ece(confidences, random.random(len(labels)) < confidences, edges) for _ in range(RESAMPLES)]
        figures[name] = {
            "value": value,
            "interval": np.maximum(np.quantile(resampled, [0.025, 0.975]) - bias, 0).tolist(),
            "perfect": float(np.mean(perfect)),
            "perfect_95": float(np.quantile(perfect, 0.95)),
        }
    return figures


def equal_width(confidences: Floats) -> Floats:
    """Edges of 15 bins of equal width."""
    return np.linspace(0, 1, BINS + 1)


def equal_mass(confidences: Floats) -> Floats:
    """Edges of 15 bins of as many cells each."""
    return np.quantile(confidences, np.linspace(0, 1, BINS + 1))


def bins(confidences: Floats, correct: Bools, edges: Floats) -> list[Bin]:
    """Sort cells into bins by confidence; empty ones are left out."""
    number = np.clip(np.searchsorted(edges, confidences, side="right") - 1, 0, len(edges) - 2)
    chosen = (number == i for i in np.unique(number))
    return [Bin(int(c.sum()), float(confidences[c].mean()), float(correct[c].mean())) for c in chosen]


def ece(confidences: Floats, correct: Bools, edges: Floats) -> float:
    """Expected calibration error: mean over the cells of |accuracy − confidence| of their bin."""
    number = np.clip(np.searchsorted(edges, confidences, side="right") - 1, 0, len(edges) - 2)
    gaps = np.bincount(number, correct - confidences, len(edges) - 1)
    return float(np.abs(gaps).sum() / len(confidences))
