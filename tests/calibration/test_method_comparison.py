"""The figures of published worked examples."""

import numpy as np
import pytest
from scipy import stats

from cartcls.calibration.method_comparison import (
    bland_altman,
    kappa_by_slide,
    kappa_of,
    passing_bablok,
    two_sample_limits,
    why_no_line,
)

# Bland and Altman, Lancet 1986; 327: 307–310, table 1: peak expiratory flow (l/min), first reading by each meter.
WRIGHT = (494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427)
MINI = (512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451)

# R package mcr, data set `creatinine`: serum and plasma creatinine (mg/dl) of 108 patients with both.
CREATININE = """
    0.82 0.79  1.83 1.62  1.39 1.36  0.81 1.3  1.72 1.88  3.23 3.35  1.23 1.06  1.37 1.34  1.72 1.56
    0.96 0.94  0.76 0.69  1.15 1.16  0.95 0.71  1 0.83  1.52 1.44  1.56 1.26  2.45 2.36  1.85 1.9
    0.89 0.95  0.82 0.77  1.01 0.82  0.96 0.88  3.38 3.42  1.31 1.15  1.1 0.96  1.26 1.12  1.15 1.02
    1.2 1.29  1.01 0.87  1.33 1.13  0.87 0.82  1.66 1.33  1.41 1.14  1.08 0.93  1.17 1.09  1.77 1.89
    1.33 1.57  1.23 1.29  1.21 1.13  1.2 1.11  1.49 1.61  0.89 0.79  1.09 1.19  1.03 0.96  1.07 1.25
    0.89 0.87  1.39 1.36  0.96 0.86  1.06 1.03  1.17 0.86  0.9 0.8  1.39 1.22  0.91 0.86  2.28 2.25
    0.9 0.87  1.34 1.3  1.32 1.04  1.02 0.92  1.04 1.01  1.27 1.21  1.08 1.11  1.1 1.21  1.39 1.54
    1.07 0.99  0.79 0.79  1.02 1.06  0.94 1.02  1.99 2.15  0.7 0.56  0.84 1.01  0.66 0.59  1.1 1.17
    0.9 0.82  2.06 2.09  1.31 1.44  1.03 1.22  1.61 1.77  1.52 1.6  1.11 1.13  0.85 1.06  1.2 1.38
    1.09 1.24  1.27 1.29  2.06 2.08  1.21 1.31  0.77 0.82  1.06 1.28  1.02 1.15  1 1.04  1.47 1.51
    0.97 1.13  1.7 1.84  1.78 1.94  0.93 1.32  0.92 1.36  1.59 1.88  0.68 0.73  0.7 0.78  1.08 1.01
    0.83 0.9  1.17 1.3  0.98 0.96  0.77 0.61  0.91 1.27  1.1 1.05  0.8 1.12  0.85 0.72  0.82 0.87
"""

# Rümke's 95 % limits of a count in percent, for x of n cells: exact binomial limits, as VeritaCheck's verify-rumke.mts
# (a public program for CLSI H20) quotes them. Rümke's own text (in Koepke (ed.), Differential leukocyte counting, CAP
# 1979) and H20 itself were not at hand.
RUEMKE = (
    (0, 100, 0.0, 3.62),
    (1, 100, 0.03, 5.45),
    (3, 100, 0.62, 8.52),
    (5, 100, 1.64, 11.28),
    (10, 100, 4.90, 17.62),
    (20, 100, 12.67, 29.18),
    (30, 100, 21.24, 39.98),
    (50, 100, 39.83, 60.17),
    (6, 200, 1.11, 6.42),
    (2, 200, 0.12, 3.57),
)


def test_kappa_of_cohen():
    # Cohen, Psychological Bulletin 1968; 70: 213–220, table 1: two judges, 200 patients, κ = .492
    assert kappa_of([[88, 10, 2], [14, 40, 6], [18, 10, 12]]) == pytest.approx(0.492, abs=5e-4)
    assert kappa_of([[20, 5], [10, 15]]) == pytest.approx(0.40, abs=1e-9)  # 50 grants: 0.7 agree, 0.5 by chance


def test_kappa_has_an_interval_by_slide():
    alike = [[[40, 2], [2, 40]]] * 6
    found = kappa_by_slide(alike)
    assert found.value is not None and found.interval is not None
    assert found.interval == pytest.approx((found.value, found.value))  # slides that are alike leave no doubt
    unlike = kappa_by_slide([[[40, 2], [2, 40]], [[20, 22], [22, 20]], [[42, 0], [0, 42]], [[30, 12], [12, 30]]])
    assert unlike.value is not None and unlike.interval is not None
    low, high = unlike.interval
    assert low < 0.2 < unlike.value < 0.8 < high
    assert kappa_by_slide(alike[:1]).interval is None
    assert kappa_by_slide([[[9, 0], [0, 0]]] * 3).value is None


@pytest.mark.parametrize(("count", "cells", "low", "high"), RUEMKE)
def test_against_very_many_cells_the_limits_are_ruemkes(count: int, cells: int, low: float, high: float):
    many = 200_000
    found = [100 * end / many for end in two_sample_limits(count, cells, many)]
    assert found == pytest.approx((low, high), abs=0.03)


def test_a_table_of_a_textbook():
    # 9 bands in 100 cells are 4 to 17 %: the table in Clinical Diagnosis and Management by Laboratory Methods, as
    # quoted in "Blood smear estimates" (laboratory-manager.advanceweb.com)
    low, high = two_sample_limits(9, 100, 200_000)
    assert (int(100 * low / 200_000), -int(-100 * high // 200_000)) == (4, 17)


@pytest.mark.parametrize(("reference", "reference_cells", "cells"), [(5, 200, 200), (30, 100, 400), (0, 400, 100)])
def test_both_ends_are_those_of_fishers_test(reference: int, reference_cells: int, cells: int):
    def chance(count: int, side: str) -> float:
        table = [[count, cells - count], [reference, reference_cells - reference]]
        return float(stats.fisher_exact(table, side).pvalue)  # pyright: ignore[reportAttributeAccessIssue]

    low, high = two_sample_limits(reference, reference_cells, cells)
    assert chance(high, "greater") > 0.025 >= chance(high + 1, "greater")
    assert chance(low, "less") > 0.025
    assert low == 0 or chance(low - 1, "less") <= 0.025


def test_the_limits_are_near_those_by_the_normal_distribution():
    # |p - q| <= 1.96 * sqrt(p(1-p)/n + q(1-q)/m), which holds where both counts are large
    low, high = two_sample_limits(400, 1000, 1000)
    half = 1.96 * np.sqrt(2 * 0.24 / 1000)
    assert (low / 1000, high / 1000) == pytest.approx((0.4 - half, 0.4 + half), abs=0.003)


def test_the_peak_flow_of_bland_and_altman():
    found = bland_altman(WRIGHT, MINI)
    assert found is not None
    assert (found.count, round(found.bias, 1), round(found.deviation, 1)) == (17, -2.1, 38.8)
    assert [round(end, 1) for end in found.bias_interval] == [-22.0, 17.8]
    low, high = (found.bias + sign * 2 * found.deviation for sign in (-1, 1))  # the paper takes 2 for 1.96
    assert (low, high) == pytest.approx((-79.7, 75.5), abs=0.1)
    assert found.limits == pytest.approx((-78.0959, 73.8606), abs=1e-3)
    assert [end - found.limits[0] for end in found.low_interval] == pytest.approx((-34.6, 34.6), abs=0.1)  # 2.12 * 16.3
    assert [end - found.limits[1] for end in found.high_interval] == pytest.approx((-34.6, 34.6), abs=0.1)
    assert bland_altman([1], [2]) is None


def test_the_creatinine_of_mcr():
    # mcreg(x, y, method.reg="PaBa", method.ci="analytical"): mcr turns slopes into angles, so the last digits differ
    x, y = np.array(CREATININE.split(), float).reshape(-1, 2).T
    found = passing_bablok(x, y)
    assert found is not None
    assert (len(x), found.slope, found.intercept) == pytest.approx((108, 1.0880089, -0.1171729), abs=2e-4)
    assert found.slope_interval == pytest.approx((1.0, 1.173005), abs=2e-4)
    assert found.intercept_interval == pytest.approx((-0.2001149, -0.02), abs=2e-4)


def test_the_line_does_not_depend_on_which_method_is_x():
    x, y = np.array(CREATININE.split(), float).reshape(-1, 2).T
    one, other = passing_bablok(x, y), passing_bablok(y, x)
    assert one is not None and other is not None
    assert one.slope == pytest.approx(1 / other.slope, rel=1e-3)


def test_no_line_of_too_few_slides_or_of_a_rare_class():
    assert why_no_line([50.0] * 39) == "fewer than 40 slides"
    assert why_no_line([4.9] * 40) == "median below 5 %"
    assert why_no_line([5.0] * 40) == ""
    assert passing_bablok([1, 1, 1], [1, 1, 1]) is None
    assert passing_bablok([1, 1, 1, 1], [1, 2, 3, 4]) is None
