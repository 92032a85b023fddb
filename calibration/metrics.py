"""Metrics of labelled cells, from probabilities or logits."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, top_k_accuracy_score

from ..runtime.bundle.manifest import ClassMetrics, Metrics
from ..runtime.statistics import wilson_interval

METRICS, CONFUSION = "metrics.json", "confusion.png"  # files of an evaluation, and of a training


def classification_metrics(labels: npt.ArrayLike, scores: npt.ArrayLike, classes: Sequence[str]) -> Metrics:
    """Metrics of N labelled cells.

    Args:
        labels: True class indices, int, (N,).
        scores: Logits or probabilities, (N, K).
        classes: Names of the K classes in order.

    Returns:
        The metrics; `top5` is top K where K < 5.
    """
    labels, scores, indices = np.asarray(labels), np.asarray(scores), range(len(classes))
    predicted = scores.argmax(1)
    confusion = confusion_matrix(labels, predicted, labels=indices)
    precision, sensitivity, f1, support = np.array(
        precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=0)  # pyright: ignore[reportArgumentType]
    )
    there, called = support > 0, confusion.sum(0) > 0
    compared = there & (there.sum() > 1)  # among cells of one class alone, no other can be called so
    correct = int(confusion.trace())
    return Metrics(
        count=len(labels),
        correct=correct,
        top1=correct / len(labels),
        top1_interval=wilson_interval(correct, len(labels)),
        top5=float(top_k_accuracy_score(labels, scores, k=5, labels=indices)) if len(classes) > 5 else 1.0,
        macro_f1=float(f1[there].mean()) if compared.any() else None,
        weighted_f1=float(np.average(f1, weights=support)) if compared.any() else None,
        per_class={
            name: ClassMetrics(
                int(support[i]),
                float(sensitivity[i]) if there[i] else None,
                float(precision[i]) if compared[i] and called[i] else None,
                float(f1[i]) if compared[i] else None,
            )
            for i, name in enumerate(classes)
        },
        confusion=confusion.tolist(),
    )
