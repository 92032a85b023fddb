"""Temperature: one number that makes confidences honest and changes no label (Guo et al. 2017)."""

import numpy as np
import numpy.typing as npt

from ..runtime.bundle.calibration import TEMPERATURES
from ..runtime.errors import DataError

ROUNDS = 60  # of golden sections: the bracket is then narrower than a float's rounding
GOLDEN = (5**0.5 - 1) / 2


def fit_temperature(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.intp]) -> float:
    """Find the temperature of the smallest negative log likelihood, which has one minimum in log T.

    One cell more is counted that has the second best label each time (Platt 1999), so that a few cells that are all
    right do not make confidences of 1.

    Args:
        logits: Of cells of `select`, (N, K).
        labels: Their true class indices, (N,).

    Raises:
        DataError: The best one is at the end of the range: the confidences mean nothing.
    """
    low, high = np.log(TEMPERATURES)
    for _ in range(ROUNDS):
        third, fourth = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if negative_log_likelihood(logits, labels, np.exp(third)) < negative_log_likelihood(
            logits, labels, np.exp(fourth)
        ):
            high = fourth
        else:
            low = third
    temperature = float(np.exp((low + high) / 2))
    if not 1.01 * TEMPERATURES[0] < temperature < TEMPERATURES[1] / 1.01:
        raise DataError(
            f"no temperature between {TEMPERATURES[0]} and {TEMPERATURES[1]} fits `select`: are its labels those of"
            " this bundle, and some of its cells hard enough to be wrong?"
        )
    return temperature


def negative_log_likelihood(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.intp], temperature: float) -> float:
    """Mean of −ln p over N cells: p of the true class, and with the weight of one cell that of the second best."""
    scaled = logits.astype(np.float64) / temperature
    best = scaled.max(1, keepdims=True)
    logarithms = scaled - best - np.log(np.exp(scaled - best).sum(1, keepdims=True))
    true, second = logarithms[np.arange(len(labels)), labels], np.sort(logarithms, axis=1)[:, -2]
    return float(-(true.mean() * len(labels) + second.mean()) / (len(labels) + 1))
