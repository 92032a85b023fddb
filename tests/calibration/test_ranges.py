import numpy as np

from cartcls.calibration.ranges import PER_CLASS, range_cells


def test_every_class_shows_as_many_cells_and_a_small_one_all():
    labels = np.repeat(["a", "b", "c"], [50, 3, PER_CLASS + 1])
    chosen = range_cells(labels)
    assert dict(zip(*np.unique(labels[chosen], return_counts=True), strict=True)) == {
        "a": PER_CLASS,
        "b": 3,
        "c": PER_CLASS,
    }
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, range_cells(labels))
