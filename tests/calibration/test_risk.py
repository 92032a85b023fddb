from math import comb

import numpy as np
import pytest

from cartcls.calibration.risk import (
    cells_needed,
    cells_to_stand,
    clopper_pearson_upper,
    promise,
    risk_coverage,
    threshold_sequence,
)


@pytest.mark.parametrize(
    ("wrong", "count", "bound"),
    [(0, 59, 0.04951), (0, 299, 0.00997), (1, 10, 0.39416), (2, 20, 0.28262), (3, 773, 0.01000), (5, 5, 1.0)],
)
def test_the_bound_is_that_of_the_tables(wrong: int, count: int, bound: float):
    assert clopper_pearson_upper(wrong, count) == pytest.approx(bound, abs=6e-6)


def test_the_bound_solves_its_equation():
    for wrong, count in [(0, 30), (4, 90), (17, 200)]:
        p = clopper_pearson_upper(wrong, count)
        assert sum(comb(count, i) * p**i * (1 - p) ** (count - i) for i in range(wrong + 1)) == pytest.approx(0.05)


def test_how_many_cells_are_needed():
    assert cells_needed(0, 0.01) == 299
    assert cells_needed(0, 0.05) == 59
    assert cells_needed(0.02, 0.01) is None
    needed = cells_needed(0.005, 0.01, 500)
    assert needed is not None
    assert clopper_pearson_upper(round(0.005 * needed), needed) <= 0.01
    assert clopper_pearson_upper(round(0.005 * (needed - 1)), needed - 1) > 0.01


def test_thresholds_go_from_strict_to_loose_and_do_not_see_the_cells_they_are_tried_on():
    select = np.random.default_rng(0).beta(20, 1, 400)
    thresholds = threshold_sequence(select, 776, 0.01)
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[-1] == 0.0
    assert (select >= thresholds[0]).mean() == pytest.approx(628 / 776 + 0.04, abs=0.01)
    fewer = threshold_sequence(select, 320, 0.02)  # 313 of 320 would stand two errors: one must do
    assert (select >= fewer[0]).mean() == pytest.approx(236 / 320 + 0.04, abs=0.01)
    assert len(threshold_sequence(select, 100, 0.01)) == 1  # the bound is out of reach: one threshold, one bound


def test_the_first_failure_ends_it_though_a_later_threshold_would_pass():
    confidences = np.concatenate([np.full(200, 0.9), np.full(200, 0.8), np.full(2000, 0.5)])
    correct = np.ones(2400, bool)
    correct[200:212] = False
    found = promise(confidences, correct, [0.9, 0.8, 0.5], 0.02)
    assert [step.passing for step in found.steps] == [200, 400]
    assert (found.chosen.threshold, found.chosen.wrong, found.reached, found.needed) == (0.9, 0, True, None)
    assert clopper_pearson_upper(12, 2400) <= 0.02


def test_where_the_bound_is_not_reached_the_one_that_was_and_the_number_needed_are_kept():
    correct = np.ones(100, bool)
    correct[3] = False
    found = promise(np.linspace(1, 0.5, 100), correct, [0.5], 0.02)
    assert not found.reached
    assert found.chosen.bound == clopper_pearson_upper(1, 100)
    assert found.needed == cells_needed(0.01, 0.02, 100)
    fewer = promise(np.linspace(1, 0.5, 100), correct, [0.75], 0.05)
    assert fewer.chosen.passing == 50
    assert fewer.needed == cells_needed(0.02, 0.05, 50)
    hopeless = promise(np.ones(100), np.arange(100) > 10, [0.5], 0.02)
    assert hopeless.needed == cells_to_stand(11, 0.02)


def test_what_is_guaranteed_holds_in_95_of_100_data_sets():
    """Cells whose true risk at each threshold is known: it may be above the guarantee in at most 5 % of the draws."""
    random = np.random.default_rng(1)
    broken = 0
    draws = 400
    select = 1 - 0.5 * random.random(400) ** 2
    for _ in range(draws):
        confidences = 1 - 0.5 * random.random(776) ** 2
        wrong = random.random(776) < 0.5 * (1 - confidences) ** 1.5
        found = promise(confidences, ~wrong, threshold_sequence(select, 776, 0.03), 0.03)
        grid = 1 - 0.5 * np.linspace(0, 1, 20_001) ** 2
        passing = grid[grid >= found.chosen.threshold]
        broken += found.reached and float((0.5 * (1 - passing) ** 1.5).mean()) > found.asked
    assert broken <= 0.05 * draws + 2 * (0.05 * 0.95 * draws) ** 0.5
    assert broken > 0  # else the draws test nothing


def test_risk_over_coverage_counts_from_the_surest_cell_on():
    coverage, risk = risk_coverage(np.array([0.5, 0.9, 0.7, 0.8]), np.array([False, True, True, False]))
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 3, 2 / 4])
