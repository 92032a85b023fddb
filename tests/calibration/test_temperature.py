import numpy as np
import pytest

from cartcls.calibration.temperature import fit_temperature, negative_log_likelihood
from cartcls.runtime.errors import DataError
from cartcls.runtime.inference.predictions import softmax


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found_again(temperature: float):
    random = np.random.default_rng(0)
    logits = (3 * random.normal(size=(20_000, 8))).astype(np.float32)
    drawn = softmax(logits, temperature).cumsum(1) > random.random((20_000, 1))
    labels = drawn.argmax(1)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    for other in (0.9 * found, 1.1 * found):
        assert negative_log_likelihood(logits, labels, other) > negative_log_likelihood(logits, labels, found)


def test_a_few_cells_that_are_all_right_do_not_make_confidences_of_1():
    logits = np.tile(np.array([[9.0, 5, 0]], np.float32), (30, 1))
    temperature = fit_temperature(logits, np.zeros(30, int))
    assert softmax(logits[:1], temperature)[0, 0] == pytest.approx(30 / 31, abs=0.01)


def test_labels_of_another_model_are_refused():
    logits = np.tile(np.array([[9.0, 0, 0]], np.float32), (30, 1))
    with pytest.raises(DataError, match="no temperature between"):
        fit_temperature(logits, np.ones(30, int))
