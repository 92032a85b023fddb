import numpy as np

from cartcls.calibration.ranges import range_cells


def test_every_class_shows_as_many_cells_and_a_small_one_all():
    labels = np.repeat(["a", "b", "c"], [50, 3, 9])
    chosen = range_cells(labels, per_class=8)
    assert dict(zip(*np.unique(labels[chosen], return_counts=True), strict=True)) == {"a": 8, "b": 3, "c": 8}
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, range_cells(labels, per_class=8))
    assert chosen.tolist() != range_cells(labels, per_class=8, seed=1).tolist()
