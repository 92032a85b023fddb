"""The head of a model: one linear layer on the pooled features of all members, fitted where there is no PyTorch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Floats = npt.NDArray[np.floating]
SMOOTHING = 0.05  # of labels, as in the training
STEADY = 0.05  # of the mean variance, added to each: features that hardly vary at home get no large weights
STEPS = 60


@dataclass(frozen=True, eq=False)
class Head:
    """One linear layer.

    Attributes:
        weight: (K, D).
        bias: (K,).
    """

    weight: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """Logits (N, K) of features (N, D)."""
        return features @ self.weight.T + self.bias

    def after(self, scale: Floats, shift: Floats) -> "Head":
        """The head that gives for features f what this one gives for `scale`·f + `shift`, both (D,)."""
        return Head(self.weight * scale, self.bias + self.weight @ shift)


def fit_head(features: Floats, labels: npt.NDArray[np.intp], start: Head, decay: float) -> Head:
    """Fit a head by logistic regression on frozen features, near another head.

    Classes have the same weight, whatever their numbers of cells. Features count in their standard deviations.

    Args:
        features: (N, D).
        labels: Class indices, (N,).
        start: Head to stay near: zeros for plain weight decay.
        decay: Penalty on the squared difference from `start`.
    """
    mean, variance = features.mean(0), features.var(0)
    spread = np.sqrt(variance + STEADY * variance.mean())
    scaled = ((features - mean) / spread).astype(np.float32)
    classes = len(start.bias)
    weights = (1 / np.bincount(labels, minlength=classes))[labels].astype(np.float32)
    weights /= weights.sum()
    targets = np.eye(classes, dtype=np.float32)[labels] * (1 - SMOOTHING) + SMOOTHING / classes
    first = np.column_stack([start.weight * spread, start.bias + start.weight @ mean])

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        change = flat.reshape(first.shape) - first
        head = (first + change).astype(np.float32)
        logits = scaled @ head[:, :-1].T + head[:, -1]
        logits -= logits.max(1, keepdims=True)
        logarithms = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        entropy = -float(weights @ (targets * logarithms).sum(1))
        residual = (np.exp(logarithms) - targets) * weights[:, None]
        gradient = np.column_stack([residual.T @ scaled, residual.sum(0)]) + 2 * decay * change
        return entropy + decay * float((change**2).sum()), gradient.ravel()

    found = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x
    found = found.reshape(first.shape)
    weight = found[:, :-1] / spread
    return Head(weight, found[:, -1] - weight @ mean)
