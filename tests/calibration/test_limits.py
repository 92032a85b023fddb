import numpy as np
import pytest

from cartcls.calibration.limits import FEWEST_FOR_TYPICAL, SLACK, gaussians, limits, stain_gaussians, typical
from cartcls.runtime.bundle.review import Gaussians


def test_distances_are_to_the_nearest_class_in_its_own_spread():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 500)
    vectors = random.normal(size=(1000, 3)) * [1, 1, 5] + np.array([[0, 0, 0], [20, 0, 0]])[labels]
    found = gaussians(vectors, labels)
    near, far, between, along = found.distances(np.array([[0.0, 0, 0], [0, 30, 0], [10, 0, 0], [20, 0, 5]]))
    assert near < along < between < far
    assert along < 1.5


def test_fewer_vectors_than_dimensions_give_finite_distances():
    random = np.random.default_rng(0)
    found = gaussians(random.normal(size=(20, 100)), np.repeat([0, 1], 10))
    assert np.isfinite(found.distances(random.normal(size=(5, 100)))).all()


def test_of_many_dimensions_few_directions_are_told_apart():
    random = np.random.default_rng(0)
    spread = np.r_[np.full(20, 10.0), np.ones(580)]  # the first directions vary most
    labels = np.repeat([0, 1], 1000)
    vectors = random.normal(size=(2000, 600)) * spread + np.where(np.arange(600) == 50, 30, 0) * labels[:, None]
    found = gaussians(vectors, labels)
    assert found.whitening.shape == (600, 200)
    there, along, across = np.zeros((3, 600))
    along[0] = across[100] = 20
    middle, near, far = found.distances(np.stack([there, along, across]))
    assert middle < 1 < near < 3 < 15 < far < 30
    of_own = found.distances(random.normal(size=(50, 600)) * spread)
    assert abs(np.median(of_own) - np.sqrt(600)) < 3  # as with the true covariance
    exact = Gaussians(found.means, np.diag(1 / spread).astype(np.float32)).distances(np.stack([along, across]))
    assert np.allclose(exact, [near, far], rtol=0.3)


@pytest.mark.parametrize("size", [60, 600])
def test_variances_are_those_within_the_classes(size: int):
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 1000)
    spread = np.r_[np.full(20, 2.0), np.ones(size - 20)]
    vectors = random.normal(size=(2000, size)) * spread + 50 * labels[:, None]
    assert np.allclose(gaussians(vectors, labels).variances, spread**2, rtol=0.35)


def test_kinds_of_stain_are_told_apart():
    random = np.random.default_rng(0)
    stains = np.concatenate([random.normal(0, 0.02, (100, 9)), random.normal(1, 0.02, (10, 9))])
    found = stain_gaussians(stains)
    rare, middle = found.distances(np.array([np.ones(9), np.full(9, 0.5)]))
    assert rare < 3
    assert middle > 10


def test_limits_lie_beyond_the_rare_and_never_too_near():
    values = np.random.default_rng(0).normal(200, 10, 4000)
    low, high = limits("brightness", values)
    assert (values < low).mean() < 0.005
    assert (values > high).mean() < 0.005
    assert limits("brightness", np.full(10, 200.0)) == (200 - SLACK["brightness"], 200 + SLACK["brightness"])


@pytest.mark.parametrize("count", [FEWEST_FOR_TYPICAL, 146])
def test_at_most_one_in_ten_cells_of_home_is_farther_than_typical_in_95_of_100_calibrations(count: int):
    random, draws = np.random.default_rng(0), 2000
    labels = np.zeros(count, np.intp)
    farther = [1 - typical(random.random(count), labels, ["a"])["a"] for _ in range(draws)]
    broken = sum(share > 0.1 for share in farther)
    assert broken <= 0.05 * draws + 2 * (0.05 * 0.95 * draws) ** 0.5
    assert broken > 0.02 * draws  # no larger than it must be: else drift sees less


def test_a_class_with_few_cells_takes_what_is_typical_of_all():
    distances = np.concatenate([np.linspace(0, 1, 100), np.full(5, 50.0)])
    found = typical(distances, np.repeat([0, 1], [100, 5]), ["a", "b"])
    assert 0.9 < found["a"] < 0.97
    assert found["a"] < found["b"] < 2
