from itertools import pairwise

import pytest
from scipy import stats

from cartcls.runtime.bundle.calibration import Typical
from cartcls.runtime.bundle.drift import EXPECTED, FALSE_ALARMS, alarm, looks, most_far

TYPICAL = Typical(features={"a": 10.0, "b": 20.0}, colours={"a": 2.0, "b": 3.0})
NEAR_A, NEAR_B = ("a", 9.0, 1.0), ("b", 19.0, 2.9)
ODD_COLOURS, ODD = ("a", 9.0, 5.0), ("a", 99.0, 99.0)


def test_cells_are_compared_with_their_own_class():
    assert alarm([NEAR_A, NEAR_B] * 100, TYPICAL) == ()
    assert alarm([("a", 19.0, 2.9), NEAR_B] * 100, TYPICAL) == ("features", "colours")
    assert alarm([ODD_COLOURS, NEAR_B] * 100, TYPICAL) == ("colours",)
    assert alarm([("a", float("nan"), 1.0)] * 20, TYPICAL) == ("features",)


def test_twenty_cells_are_needed_and_the_first_look_that_alarms_decides():
    assert alarm([ODD] * 19, TYPICAL) == ()
    assert alarm([ODD] * 20, TYPICAL) == ("features", "colours")
    assert alarm([ODD_COLOURS] * 20 + [ODD] * 1000, TYPICAL) == ("colours",)
    assert alarm([ODD] * 20 + [NEAR_A] * 1000, TYPICAL) == ("features", "colours")


def test_a_change_is_found_within_fifty_cells():
    assert list(looks(319)) == [(0, 20), (0, 50), (0, 100), (0, 150), (0, 200), (50, 250), (100, 300)]
    assert alarm([NEAR_A] * 1000 + [ODD_COLOURS] * 49, TYPICAL) == ()
    assert alarm([NEAR_A] * 1000 + [ODD_COLOURS] * 50, TYPICAL) == ("colours",)
    assert alarm([NEAR_A] * 100 + [ODD_COLOURS] * 99, TYPICAL) == ("colours",)


@pytest.mark.parametrize(("look", "count"), [(1, 20), (2, 50), (3, 100), (4, 150), (5, 200), (21, 200)])
def test_the_limit_of_each_look_is_the_exact_one(look: int, count: int):
    error = FALSE_ALARMS / 2 / (look * (look + 1))
    most = most_far(look, count)
    assert stats.binom.sf(most, count, EXPECTED) <= error < stats.binom.sf(most - 1, count, EXPECTED)


def test_all_looks_together_alarm_on_one_slide_in_1000():
    ends = [end for _, end in looks(10_000)]
    assert all(earlier < later for earlier, later in pairwise(ends))
    counts = [end - first for first, end in looks(10_000)]
    errors = [2 * stats.binom.sf(most_far(look, count), count, EXPECTED) for look, count in enumerate(counts, 1)]
    assert 0.0003 < sum(errors) <= FALSE_ALARMS
