import numpy as np
import pytest

from cartcls.calibration.reliability import bins, ece, equal_mass, equal_width, reliability


def drawn(count: int, confidence_of: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of two classes and labels; the true share is `confidence_of` of the confidence."""
    random = np.random.default_rng(seed)
    first = 0.5 + 0.5 * random.random(count)
    labels = (random.random(count) >= confidence_of * first).astype(int)
    return np.stack([first, 1 - first], 1), labels


def test_perfectly_calibrated_cells_show_what_such_a_model_shows():
    probabilities, labels = drawn(800, 1.0)
    figures = reliability(probabilities, labels)
    for error in (figures.ece_equal_width, figures.ece_equal_mass):
        assert error.value <= error.perfect_95
        assert 0.01 < error.perfect < error.perfect_95 < 0.1
        assert error.interval[0] <= error.value <= error.interval[1]


def test_cells_that_are_too_sure_show_more():
    probabilities, labels = drawn(800, 0.85)
    figures = reliability(probabilities, labels)
    for error in (figures.ece_equal_width, figures.ece_equal_mass):
        assert error.value > error.perfect_95
        assert error.value == pytest.approx(0.15 * 0.75, abs=0.04)


def test_figures_by_hand():
    confidences, correct = np.array([0.6, 0.6, 0.9, 0.9]), np.array([True, False, True, True])
    assert ece(confidences, correct, equal_width(confidences)) == pytest.approx((0.1 * 2 + 0.1 * 2) / 4)
    counts, confidence, accuracy = bins(confidences, correct, equal_width(confidences))
    np.testing.assert_allclose([counts, confidence, accuracy], [[2, 2], [0.6, 0.9], [0.5, 1]])
    probabilities = np.array([[0.8, 0.2], [0.3, 0.7]])
    assert reliability(probabilities, np.array([0, 0])).brier == pytest.approx((0.08 + 0.98) / 2)


def test_bins_of_equal_mass_hold_as_many_cells_each():
    confidences = np.random.default_rng(0).random(1500)
    counts, _, _ = bins(confidences, confidences > 0.5, equal_mass(confidences))
    assert (len(counts), counts.sum()) == (15, 1500)
    assert np.ptp(counts) <= 1
