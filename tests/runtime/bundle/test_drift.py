from cartcls.runtime.bundle.calibration import Typical
from cartcls.runtime.bundle.drift import drift

TYPICAL = Typical(features={"a": 10.0, "b": 20.0}, colours={"a": 2.0, "b": 3.0})
NEAR_A, NEAR_B = ("a", 9.0, 1.0), ("b", 19.0, 2.9)


def test_cells_are_compared_with_their_own_class():
    assert drift([NEAR_A, NEAR_B] * 100, TYPICAL) == []
    features, colours = drift([("a", 19.0, 2.9), NEAR_B] * 100, TYPICAL)
    assert features.startswith("the features of the last 200 cells have left the training distribution: 50%")
    assert colours.startswith("the colours of the last 200 cells")


def test_only_the_last_200_count_and_one_alarm_names_its_subject():
    (alarm,) = drift([NEAR_A] * 1000 + [("a", 9.0, 5.0)] * 70, TYPICAL)
    assert "colours" in alarm
    assert drift([("a", 9.0, 5.0)] * 70 + [NEAR_A] * 200, TYPICAL) == []


def test_few_cells_give_no_alarm_and_no_number_is_far():
    far = [("a", 99.0, 99.0)]
    assert drift(far * 49, TYPICAL) == []
    assert len(drift(far * 50, TYPICAL)) == 2
    assert len(drift([("a", float("nan"), 1.0)] * 60, TYPICAL)) == 1
