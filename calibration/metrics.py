"""Metrics of labelled cells, from probabilities or logits, in numpy alone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..runtime.bundle.manifest import ClassMetrics, Metrics
from ..runtime.statistics import wilson_interval


def classification_metrics(labels: npt.ArrayLike, scores: npt.ArrayLike, classes: Sequence[str]) -> Metrics:
    """Metrics of N labelled cells.

    Args:
        labels: True class indices, int, (N,).
        scores: Logits or probabilities, (N, K).
        classes: Names of the K classes in order.

    Returns:
        The metrics; `top5` is top K where K < 5.
    """
    labels, scores = np.asarray(labels, int), np.asarray(scores, float)
    confusion = confusion_matrix(labels, scores.argmax(1), len(classes))
    true_positive = confusion.diagonal()
    support, predicted = confusion.sum(1), confusion.sum(0)
    sensitivity = _ratio(true_positive, support)
    precision = _ratio(true_positive, predicted)
    f1 = _ratio(2 * true_positive, support + predicted)
    present = support > 0
    correct = int(true_positive.sum())
    best = np.argsort(-scores, axis=1, kind="stable")[:, : min(5, len(classes))]
    return Metrics(
        count=len(labels),
        correct=correct,
        top1=correct / len(labels),
        top1_interval=wilson_interval(correct, len(labels)),
        top5=float((best == labels[:, None]).any(1).mean()),
        macro_f1=float(f1[present].mean()),
        weighted_f1=float((f1 * support).sum() / support.sum()),
        per_class={
            name: ClassMetrics(int(support[i]), float(sensitivity[i]), float(precision[i]), float(f1[i]))
            for i, name in enumerate(classes)
        },
        confusion=confusion.tolist(),
    )


def confusion_matrix(labels: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.int64]:
    """Counts (size, size): rows are true classes, columns predicted ones."""
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def _ratio(numerator: npt.NDArray[np.int64], denominator: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)
