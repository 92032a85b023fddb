import pytest

from cartcls.runtime.statistics import wilson_interval


@pytest.mark.parametrize(
    ("successes", "total", "interval"),
    [(0, 0, (0, 1)), (0, 10, (0, 0.2775)), (10, 10, (0.7225, 1)), (81, 263, (0.2553, 0.3662))],
)
def test_wilson_intervals_are_those_of_the_literature(successes: int, total: int, interval: tuple[float, float]):
    assert wilson_interval(successes, total) == pytest.approx(interval, abs=5e-5)
