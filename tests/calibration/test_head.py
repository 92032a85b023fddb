import numpy as np

from cartcls.calibration.head import Head, fit_head

RANDOM = np.random.default_rng(0)
CENTERS = RANDOM.normal(size=(3, 20))


def drawn(*counts: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([0, 1, 2], counts)
    return (CENTERS[labels] + RANDOM.normal(size=(len(labels), 20))) * [3, *[1] * 19] + 50, labels


def right(head: Head, features: np.ndarray, labels: np.ndarray) -> float:
    """Mean share of right cells over the classes."""
    called = head.logits(features).argmax(1)
    return float(np.mean([(called[labels == label] == label).mean() for label in range(3)]))


def test_a_head_is_fitted_whatever_the_scale_of_features_and_the_numbers_of_cells():
    nothing = Head(np.zeros((3, 20)), np.zeros(3))
    fitted = fit_head(*drawn(1000, 100, 30), nothing, 1e-3)
    features, labels = drawn(300, 300, 300)
    assert right(nothing, features, labels) < 0.4
    assert right(fitted, features, labels) > 0.9


def test_a_feature_that_hardly_varies_at_home_gets_no_large_weight():
    features, labels = drawn(100, 100, 100)
    features[:, 5] = 1e-4 * labels
    fitted = fit_head(features, labels, Head(np.zeros((3, 20)), np.zeros(3)), 1e-3)
    assert np.abs(fitted.weight[:, 5]).max() < np.abs(fitted.weight).max()


def test_the_stronger_the_decay_the_nearer_to_the_first_head():
    first = Head(RANDOM.normal(size=(3, 20)), RANDOM.normal(size=3))
    cells = drawn(50, 50, 50)
    far, near, there = (
        np.abs(fit_head(*cells, first, decay).weight - first.weight)[:, 1:].max() for decay in (1e-3, 1, 1e6)
    )
    assert far > 2 * near > 100 * there


def test_what_features_are_multiplied_by_can_be_in_the_head():
    head = Head(RANDOM.normal(size=(3, 20)), RANDOM.normal(size=3))
    features, scale, shift = RANDOM.normal(size=(5, 20)), RANDOM.normal(size=20), RANDOM.normal(size=20)
    assert np.allclose(head.after(scale, shift).logits(features), head.logits(features * scale + shift))
