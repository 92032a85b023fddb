"""How far confidences are from the share of right answers, and how far they would be by chance alone."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..runtime.bundle.calibration import CalibrationError, Reliability

BINS = 15
RESAMPLES = 1000
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def reliability(probabilities: Floats, labels: npt.NDArray[np.intp]) -> Reliability:
    """Figures of the confidences of N labelled cells.

    Args:
        probabilities: After temperature, (N, K).
        labels: True class indices, (N,).
    """
    random = np.random.default_rng(0)
    confidences, correct = probabilities.max(1), probabilities.argmax(1) == labels
    return Reliability(
        count=len(labels),
        accuracy=float(correct.mean()),
        confidence=float(confidences.mean()),
        brier=float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(1).mean()),
        ece_equal_width=_calibration_error(confidences, correct, equal_width, random),
        ece_equal_mass=_calibration_error(confidences, correct, equal_mass, random),
    )


def equal_width(confidences: Floats) -> Floats:
    """Edges of 15 bins of equal width."""
    return np.linspace(0, 1, BINS + 1)


def equal_mass(confidences: Floats) -> Floats:
    """Edges of 15 bins of as many cells each."""
    return np.quantile(confidences, np.linspace(0, 1, BINS + 1))


def bins(confidences: Floats, correct: Bools, edges: Floats) -> tuple[npt.NDArray[np.intp], Floats, Floats]:
    """Sort cells into bins by confidence: number of cells, mean confidence and accuracy of each that is not empty."""
    number = np.searchsorted(edges[1:-1], confidences, side="right")
    counts = np.bincount(number)
    full = counts > 0
    confidence, accuracy = (np.bincount(number, values)[full] / counts[full] for values in (confidences, correct))
    return counts[full], confidence, accuracy


def ece(confidences: Floats, correct: Bools, edges: Floats) -> float:
    """Expected calibration error: mean over the cells of |accuracy − confidence| of their bin."""
    counts, confidence, accuracy = bins(confidences, correct, edges)
    return float(np.average(np.abs(accuracy - confidence), weights=counts))


def _calibration_error(
    confidences: Floats, correct: Bools, edges_of: Callable[[Floats], Floats], random: np.random.Generator
) -> CalibrationError:
    drawn = [random.integers(0, len(correct), len(correct)) for _ in range(RESAMPLES)]
    resampled = [ece(confidences[i], correct[i], edges_of(confidences[i])) for i in drawn]
    edges = edges_of(confidences)
    value = ece(confidences, correct, edges)
    bias = np.mean(resampled) - value  # drawing cells twice makes bins look farther off than they are
    perfect = [ece(confidences, random.random(len(correct)) < confidences, edges) for _ in range(RESAMPLES)]
    low, high = np.maximum(np.quantile(resampled, [0.025, 0.975]) - bias, 0).tolist()
    return CalibrationError(value, (low, high), float(np.mean(perfect)), float(np.quantile(perfect, 0.95)))
