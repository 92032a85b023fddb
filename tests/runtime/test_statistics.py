import pytest
from scipy import stats

from cartcls.runtime.statistics import clopper_pearson_interval, wilson_interval


@pytest.mark.parametrize(
    ("successes", "total", "interval"),
    [(0, 0, (0, 1)), (0, 10, (0, 0.2775)), (10, 10, (0.7225, 1)), (81, 263, (0.2553, 0.3662))],
)
def test_wilson_intervals_are_those_of_the_literature(successes: int, total: int, interval: tuple[float, float]):
    assert wilson_interval(successes, total) == pytest.approx(interval, abs=5e-5)


@pytest.mark.parametrize("total", [1, 2, 7, 50, 200, 1000, 100_000])
@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.3, 0.5, 0.95, 1])
def test_clopper_pearson_intervals_are_those_of_scipy(share: float, total: int):
    successes = round(share * total)
    expected = stats.binomtest(successes, total).proportion_ci(method="exact")
    assert clopper_pearson_interval(successes, total) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_where_nothing_was_counted_any_share_is_possible():
    assert clopper_pearson_interval(0, 0) == (0, 1)
