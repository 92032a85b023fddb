from collections import Counter

import numpy as np
import pytest

from cartcls.runtime.reports.estimate import Estimate, estimate

NAMES = ("neutrophil", "ig", "lymphocyte")
EXACT = [[10**6, 0, 0], [0, 10**6, 0], [0, 0, 10**6]]
ERRORS = [[9_700, 300, 0], [0, 10_000, 0], [0, 0, 10_000]]  # 3 % of the neutrophils are called immature


def expected(found: Estimate) -> dict[str, tuple[int, int]]:
    return {name: found.expected(name) for name in NAMES}


def test_without_errors_the_counts_are_expected_and_the_interval_is_that_of_chance():
    found = estimate(Counter(neutrophil=60, ig=4), {}, NAMES, EXACT)
    assert expected(found) == {"neutrophil": (60, 60), "ig": (4, 4), "lymphocyte": (0, 0)}
    assert found.share("ig", NAMES) == pytest.approx((0.0173, 0.1524), abs=0.01)  # Clopper–Pearson of 4 in 64
    assert found.share("lymphocyte", NAMES) == pytest.approx((0, 0.056), abs=0.01)


def test_cells_go_back_to_the_class_that_is_called_so_by_error():
    found = estimate(Counter(neutrophil=1_940, ig=61, lymphocyte=100), {}, NAMES, ERRORS)
    assert found.expected("ig")[0] <= 1 < found.expected("ig")[1] < 30  # 60 of 2,000 neutrophils
    assert found.mean("neutrophil") == pytest.approx(1_990, abs=10)
    assert found.share("ig", ["neutrophil", "ig"])[1] < 61 / 2_001
    assert found.cells.sum(1).tolist() == [2_101] * len(found.cells)


def test_draws_are_those_of_slides_that_would_have_these_labels():
    found = estimate({"a": 6, "b": 4}, {}, ("a", "b"), [[800_000, 200_000], [100_000, 900_000]])
    random = np.random.default_rng(0)
    of_a = random.binomial(10, random.beta(0.5, 0.5, 200_000))
    called_a = random.binomial(of_a, 0.8) + random.binomial(10 - of_a, 0.1)
    slides = np.bincount(of_a[called_a == 6], minlength=11) / (called_a == 6).sum()
    drawn = np.bincount(found.cells[:, 0], minlength=11) / len(found.cells)
    assert drawn == pytest.approx(slides, abs=0.03)


def test_what_a_person_decided_is_taken_as_true():
    found = estimate(Counter(neutrophil=1_940), Counter(ig=61), NAMES, ERRORS)
    assert found.expected("ig") == (61, 61)
    assert found.expected("neutrophil") == (1_940, 1_940)
    nothing = estimate({}, Counter(ig=1, other=3), NAMES, ERRORS)
    assert expected(nothing) == {"neutrophil": (0, 0), "ig": (1, 1), "lymphocyte": (0, 0)}
    assert estimate({}, {}, NAMES, ERRORS).share("ig", NAMES) == (0, 1)


def test_the_same_counts_give_the_same_draws():
    one, two = (estimate(Counter(neutrophil=50, ig=5), {}, NAMES, ERRORS) for _ in range(2))
    assert np.array_equal(one.weights, two.weights)
    assert one.ratio("ig", ["neutrophil"]) == two.ratio("ig", ["neutrophil"])
