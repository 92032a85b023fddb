import numpy as np
import numpy.typing as npt
import pytest

from cartcls.calibration.laboratory import (
    NEAR,
    USUAL_MIX,
    standardise,
    standardise_laboratory,
    strangeness,
    usual_mix,
)
from cartcls.calibration.limits import gaussians
from cartcls.runtime.bundle.review import Gaussians
from cartcls.runtime.errors import DataError

Floats = npt.NDArray[np.float64]
NAMES = sorted(USUAL_MIX)
RANDOM = np.random.default_rng(0)
CENTERS = RANDOM.normal(size=(len(NAMES), 32)) * 0.8
GAIN, OFFSET = RANDOM.uniform(0.3, 1, 32), CENTERS[0] * 4


def drawn(counts: npt.NDArray[np.intp]) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Features and labels of so many cells of each class."""
    labels = np.repeat(np.arange(len(NAMES)), counts)
    return CENTERS[labels] + RANDOM.normal(size=(len(labels), 32)), labels


def nearest(features: Floats, home: Gaussians) -> npt.NDArray[np.intp]:
    return ((features[:, None] - home.means) ** 2).sum(2).argmin(1)


def certain(labels: npt.NDArray[np.intp]) -> Floats:
    return np.eye(len(NAMES))[labels]


@pytest.fixture(scope="module")
def home() -> Gaussians:
    return gaussians(*drawn(np.full(len(NAMES), 100)))


def test_cells_of_another_laboratory_become_like_those_of_home(home: Gaussians):
    features, labels = drawn((500 * usual_mix(NAMES)).astype(int) + 1)
    abroad = features * GAIN + OFFSET
    before = (nearest(abroad, home) == labels).mean()
    made = standardise(abroad, home, usual_mix(NAMES))
    after = (nearest(abroad * made.scale + made.shift, home) == labels).mean()
    assert before < 0.6
    assert after > 0.95
    assert np.median(np.abs(made.scale * GAIN - 1)) < 0.1


def test_a_slide_of_one_class_at_home_is_not_strange_and_another_laboratory_is(home: Gaussians):
    for label in range(len(NAMES)):
        features, labels = drawn(np.where(np.arange(len(NAMES)) == label, 100, 0))
        assert abs(strangeness(features, certain(labels), home)) < NEAR
        abroad = features * GAIN + OFFSET
        assert strangeness(abroad, certain(nearest(abroad, home)), home) > 2 * NEAR


def test_features_that_do_not_vary_stay_finite(home: Gaussians):
    made = standardise(np.zeros((100, 32)), home, usual_mix(NAMES))
    assert np.isfinite(made.scale).all()
    assert np.isfinite(made.shift).all()


def test_a_class_that_no_count_knows_is_rare():
    shares = usual_mix(["neutrophil", "hairy cell", "lymphocyte"])
    assert np.isclose(shares.sum(), 1)
    assert shares[1] == shares.min() < 0.01


def test_cells_like_those_of_home_and_few_cells_are_left_alone(home: Gaussians):
    features, labels = drawn(np.full(len(NAMES), 20))
    with pytest.raises(DataError, match="like those that the bundle was trained on: use the bundle as it is"):
        standardise_laboratory(features, certain(labels), home, NAMES)
    abroad = features * GAIN + OFFSET
    with pytest.raises(DataError, match="99 cells: at least 100 are needed, of many slides"):
        standardise_laboratory(abroad[:99], certain(labels[:99]), home, NAMES)
    assert standardise_laboratory(abroad, certain(labels), home, NAMES).scale.shape == (32,)
