import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from cartcls.calibration.metrics import classification_metrics
from cartcls.runtime.bundle.manifest import ClassMetrics

NAMES = ["a", "b", "c", "d", "e", "f", "g"]


def test_metrics_agree_with_torchmetrics():
    random = np.random.default_rng(0)
    labels = random.integers(0, 7, 300)
    scores = random.normal(size=(300, 7)) + 2 * np.eye(7)[labels]
    metrics = classification_metrics(labels, scores, NAMES)
    given = torch.tensor(scores), torch.tensor(labels), 7
    assert metrics.top1 == pytest.approx(float(multiclass_accuracy(*given, average="micro")))
    assert metrics.top5 == pytest.approx(float(multiclass_accuracy(*given, average="micro", top_k=5)))
    assert metrics.macro_f1 == pytest.approx(float(multiclass_f1_score(*given, average="macro")))
    assert metrics.weighted_f1 == pytest.approx(float(multiclass_f1_score(*given, average="weighted")))
    sensitivity = [entry.sensitivity for entry in metrics.per_class.values()]
    assert sensitivity == pytest.approx(multiclass_accuracy(*given, average="none").tolist())


def test_classes_without_cells_do_not_count_and_top5_is_topk_of_few_classes():
    metrics = classification_metrics([0, 0, 1], [[2.0, 1, 0], [0, 1, 0], [0, 1, 0]], ["a", "b", "c"])
    assert (metrics.count, metrics.correct, metrics.top5) == (3, 2, 1.0)
    assert metrics.confusion == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert metrics.per_class["a"] == ClassMetrics(count=2, sensitivity=0.5, precision=1.0, f1=2 / 3)
    assert metrics.macro_f1 == pytest.approx(2 / 3)


def test_what_was_not_measured_is_no_figure():
    scores = [[2.0, 1, 0], [0, 1, 0], [0, 1, 2], [0, 1, 2]]
    metrics = classification_metrics([0, 0, 1, 1], scores, ["a", "b", "c"])
    assert metrics.per_class["c"] == ClassMetrics(count=0, sensitivity=None, precision=None, f1=None)
    assert metrics.per_class["b"] == ClassMetrics(count=2, sensitivity=0.0, precision=0.0, f1=0.0)
    never = classification_metrics([0, 1], [[2.0, 1, 0], [2, 1, 0]], ["a", "b", "c"]).per_class["b"]
    assert never == ClassMetrics(count=1, sensitivity=0.0, precision=None, f1=0.0)


@pytest.mark.parametrize("cells", [1, 4])
def test_cells_of_one_class_have_a_share_of_right_answers_and_nothing_else(cells: int):
    metrics = classification_metrics([1] * cells, [[0.0, 2, 0]] * cells, ["a", "b", "c"])
    assert (metrics.correct, metrics.count, metrics.macro_f1, metrics.weighted_f1) == (cells, cells, None, None)
    assert metrics.per_class["b"] == ClassMetrics(count=cells, sensitivity=1.0, precision=None, f1=None)
