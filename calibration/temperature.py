"""Temperature: one number that makes confidences honest and changes no label (Guo et al. 2017)."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from ..runtime.bundle.calibration import TEMPERATURES
from ..runtime.errors import DataError


def fit_temperature(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.intp]) -> float:
    """Find the best temperature.

    Args:
        logits: Of cells of `select`, (N, K).
        labels: Their true class indices, (N,).

    Raises:
        DataError: The best one is at the end of the range: the confidences mean nothing.
    """
    temperature = best_temperature(logits, labels)
    if not 1.01 * TEMPERATURES[0] < temperature < TEMPERATURES[1] / 1.01:
        raise DataError(
            f"no temperature between {TEMPERATURES[0]} and {TEMPERATURES[1]} fits `select`: are its labels those of"
            " this bundle, and some of its cells hard enough to be wrong?"
        )
    return temperature


def best_temperature(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.intp]) -> float:
    """The temperature of the smallest negative log likelihood, which has one minimum in log T; in `TEMPERATURES`.

    One cell more is counted that has the second best label each time (Platt 1999), so that a few cells that are all
    right do not make confidences of 1.

    Args:
        logits: Of labelled cells, (N, K).
        labels: Their true class indices, (N,).
    """
    best = minimize_scalar(
        lambda logarithm: negative_log_likelihood(logits, labels, np.exp(logarithm)),
        bounds=np.log(TEMPERATURES),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(np.exp(best.x))


def negative_log_likelihood(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.intp], temperature: float) -> float:
    """Mean of −ln p over N cells: p of the true class, and with the weight of one cell that of the second best."""
    logarithms = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    true, second = logarithms[np.arange(len(labels)), labels], np.sort(logarithms, axis=1)[:, -2]
    return float(-(true.mean() * len(labels) + second.mean()) / (len(labels) + 1))
