import numpy as np
import pytest

from cartcls.calibration.judged import per_class, rare_sentence
from cartcls.calibration.risk import clopper_pearson_upper


def test_a_rare_class_is_right_less_often():
    labels = np.repeat([0, 1], [900, 900])
    predicted = labels.copy()
    predicted[900:909] = 0
    rows = per_class(labels, predicted, np.ones(1800, bool), ["rare", "common"])
    most = clopper_pearson_upper(9, 900)
    assert rows["rare"].right_if_rare == pytest.approx(0.01 / (0.01 + most * 0.99))
    sentence = rare_sentence(rows)
    assert f"9 of 900 cells of other classes were marked ok as rare, and up to {most:.2%} may" in sentence
    assert "as little as 37% of the labels 'rare' marked ok may be right" in sentence


def test_a_class_with_no_false_call_reads_no_worse_than_one_with_a_few():
    labels = np.repeat([0, 1, 2], 400)
    predicted = labels.copy()
    predicted[400:402] = 0
    rows = per_class(labels, predicted, np.ones(1200, bool), ["a", "b", "c"])
    assert rows["a"].right_if_rare < rows["b"].right_if_rare <= rows["c"].right_if_rare
    assert "2 of 800 cells of other classes were marked ok as a," in rare_sentence(rows)
