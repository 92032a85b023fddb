import numpy as np
import pytest

from cartcls.calibration.judged import RAREST, per_class, rare_sentence
from cartcls.calibration.risk import clopper_pearson_upper


def test_a_rare_class_is_right_less_often():
    labels = np.repeat([0, 1], [900, 900])
    predicted = labels.copy()
    predicted[900:909] = 0
    rows = per_class(labels, predicted, np.ones(1800, bool), ["rare", "common"])
    most = clopper_pearson_upper(9, 900)
    assert rows["rare"].right_if_rare == pytest.approx(RAREST / (RAREST + most * (1 - RAREST)))
    sentence = rare_sentence(rows)
    assert f"9 of 900 cells of other classes were marked ok as rare, and up to {most:.2%} may" in sentence
    assert "on a slide where 3 cells in 100 are one, as little as 64% of the labels 'rare' marked ok" in sentence


def test_a_class_with_no_false_call_reads_no_worse_than_one_with_a_few():
    labels = np.repeat([0, 1, 2], 400)
    predicted = labels.copy()
    predicted[400:402] = 0
    rows = per_class(labels, predicted, np.ones(1200, bool), ["a", "b", "c"])
    a, b, c = (rows[name].right_if_rare or 0 for name in "abc")
    assert 0 < a < b <= c
    assert "2 of 800 cells of other classes were marked ok as a," in rare_sentence(rows)


def test_a_class_without_an_ok_cell_is_not_the_worst():
    labels = np.repeat([0, 1, 2], 400)
    predicted = labels.copy()
    predicted[400:402] = 2
    rows = per_class(labels, predicted, predicted != 0, ["always seen", "b", "c"])
    assert rows["always seen"].right_if_rare is None
    assert "2 of 800 cells of other classes were marked ok as c," in rare_sentence(rows)
    assert rare_sentence(per_class(labels, predicted, np.zeros(1200, bool), ["a", "b", "c"])) == ""
