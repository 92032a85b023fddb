from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cartcls.calibration.adapt import SEEDS, Adapted, adapt
from cartcls.calibration.adapted_head import HomeCells
from cartcls.calibration.adapted_record import FLAGGED, PART, adapted_calibration
from cartcls.calibration.cross_validation import LabelledCells
from cartcls.calibration.learning_curve import learning_curve
from cartcls.calibration.limits import gaussians
from cartcls.calibration.own_cells import FOLDS, OwnCells
from cartcls.calibration.reviewed import Reviewed
from cartcls.calibration.views import Views
from cartcls.export.classes import cell_classes
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.bundle.calibration import Extent
from cartcls.runtime.bundle.review import Gaussians
from cartcls.runtime.images.quality import Quality
from cartcls.runtime.images.reading import read_cell

NAMES = ["eosinophil", "lymphocyte", "monocyte"]
RANDOM = np.random.default_rng(0)
CENTERS = RANDOM.normal(size=(3, 40))
NO_HOME = HomeCells(np.zeros((0, 40)), np.zeros(0, np.intp), NAMES)


def quality() -> Quality:
    """Of a real cell."""
    slide = Path(__file__).parents[2] / "examples" / "tests" / "slide-01"
    found = read_cell(slide / "cell-01.jpg", 64, 64).quality
    assert found is not None
    return found


ONE = quality()


def own_cells(count: int, slides: int | None, noise: float = 1.0) -> OwnCells:
    """So many cells of each class, of slides that each have some of all."""
    labels = np.repeat(np.arange(3), count)
    features = (CENTERS[labels] + RANDOM.normal(size=(len(labels), 40)) * noise).astype(np.float32)
    groups = None if slides is None else [f"slide-{place % slides}" for place in range(len(labels))]
    paths = [f"{NAMES[label]}/{place}.jpg" for place, label in enumerate(labels)]
    cells = LabelledCells(paths, labels, NAMES, groups)
    return OwnCells(Path("cells"), cells, Views(features[:, None], [ONE] * len(labels), features))


@pytest.fixture(scope="module")
def usual() -> Gaussians:
    own = own_cells(200, None)
    return gaussians(own.views.features.astype(np.float64), own.cells.labels)


def test_each_cell_is_answered_by_heads_that_have_not_seen_it(usual: Gaussians):
    own = own_cells(20, 10, noise=6)  # nothing to learn: a head that had seen a cell would know it
    found = adapt(own, usual, NO_HOME, 0.05)
    assert found.out_of_fold.logits.shape == (SEEDS, 60, 3)
    assert (found.head.logits(own.views.features).argmax(1) == own.cells.labels).mean() > 0.9
    assert (found.out_of_fold.logits.argmax(2) == own.cells.labels).mean() < 0.6
    groups = np.array(own.cells.groups)
    for fold_of in found.out_of_fold.fold_of:
        assert all(len(set(fold_of[groups == group])) == 1 for group in groups)
        assert set(fold_of) == set(range(FOLDS))


def recorded(own: OwnCells, found: Adapted, bundle: Bundle):  # type: ignore[no-untyped-def]
    class Backend:
        name, precision = "fake", "f32"

    return adapted_calibration(found, own, cell_classes(NAMES), bundle, Backend())  # type: ignore[arg-type]


def test_cells_may_be_ok_from_enough_cells_and_slides_on_and_it_is_never_a_promise(usual: Gaussians, bundle: Bundle):
    own = own_cells(60, 12, noise=0.5)
    made = recorded(own, adapt(own, usual, NO_HOME, 0.05), bundle)
    record = made.record
    assert record.promise.reached
    assert record.promise.word == "estimated from 180 cells of 12 slides, no promise"
    assert "The same cells trained the head, so nothing is promised" in record.promise.sentence
    assert record.part == PART
    assert (record.split_unit, record.parts) == ("cross-validated, by group", {PART: 180})
    assert set(made.files) == {"calibration.npz", "home.npz", "reliability.png", "risk-coverage.png"}


@pytest.mark.parametrize(
    ("count", "slides", "said"),
    [(60, None, "of unknown slides"), (60, 4, "of 4"), (12, 6, "there are 36 of 6")],
)
def test_with_few_cells_or_slides_every_cell_is_for_review(
    usual: Gaussians, bundle: Bundle, count: int, slides: int | None, said: str
):
    own = own_cells(count, slides, noise=0.5)
    if slides == 4:
        with pytest.raises(Exception, match="5 folds need at least 5 groups"):
            adapt(own, usual, NO_HOME, 0.05)
        return
    record = recorded(own, adapt(own, usual, NO_HOME, 0.2), bundle).record
    assert not record.promise.reached
    assert record.promise.problem.endswith(said)
    assert "at least 50 labelled cells of 5 slides are needed" in record.promise.problem


def test_more_cells_are_better(usual: Gaussians):
    points = learning_curve(own_cells(40, None, noise=1.5), usual, NO_HOME)
    assert [point.cells for point in points] == [10, 20, 50, 96]
    assert points[0].mean < points[-1].mean
    assert all(point.least <= point.mean <= point.most for point in points)


def test_cells_of_flagged_slides_train_the_head_and_nothing_else_is_of_them(usual: Gaussians, bundle: Bundle):
    own = own_cells(40, 10, noise=0.5)
    groups = [f"slide-{place % 12:02}" for place in range(120)]
    extents: dict[str, Extent] = {group: "flagged" if group >= "slide-10" else "all" for group in groups}
    whole = np.array([extents[group] == "all" for group in groups])
    own = replace(own, cells=replace(own.cells, groups=groups), reviewed=Reviewed(extents, whole))
    own.views.features[~whole] = own.views.features[~whole] * 0 + 5  # as hard cells are: unlike the others
    found = adapt(own, usual, NO_HOME, 0.05)
    assert found.out_of_fold.logits.shape == (SEEDS, 100, 3)
    assert found.out_of_fold.fold_of.shape == (SEEDS, 100)
    assert (found.out_of_fold.logits.argmax(2) == own.cells.labels[whole]).mean() > 0.95
    alone = replace(own, cells=own.cells.of(np.flatnonzero(whole)), reviewed=None)
    alone = replace(alone, views=own.views.of(np.flatnonzero(whole)))
    assert not np.allclose(adapt(alone, usual, NO_HOME, 0.05).head.weight, found.head.weight)
    made = recorded(own, found, bundle)
    record = made.record
    assert record.parts == {FLAGGED: 20, PART: 100}
    assert record.part == PART
    assert record.calibrate.count == record.promise.cells == 100
    assert record.promise.slides == 10
    assert record.reviewed == extents
    assert (
        record.split_unit
        == "cross-validated, by group; 20 cells of flagged slides trained the head and were not tested"
    )
    points = learning_curve(own, usual, NO_HOME)
    assert points[-1].cells == 100  # 80 of those that are tested, and all of the others
