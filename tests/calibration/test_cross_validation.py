import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from cartcls.calibration.cross_validation import (
    BY_GROUP,
    BY_IMAGE,
    LabelledCells,
    cross_validated,
    folds,
    labelled_cells,
    predictions_csv,
)
from cartcls.runtime.errors import DataError
from cartcls.runtime.statistics import wilson_interval


def made(labels: list[int], groups: list[str] | None = None) -> LabelledCells:
    paths = [f"{'ab'[label]}/{number}.jpg" for number, label in enumerate(labels)]
    return LabelledCells(paths, np.array(labels), ["a", "b"], groups)


def test_each_cell_is_tested_once_and_every_fold_has_the_classes_alike():
    cells = made([0] * 10 + [1] * 5)
    divided = folds(cells, 5, seed=0)
    assert sorted(np.concatenate([test for _, test in divided])) == list(range(15))
    for train, test in divided:
        assert not set(train) & set(test)
        assert cells.labels[test].tolist() == [0, 0, 1]
    other = folds(cells, 5, seed=1)
    assert any(test.tolist() != again.tolist() for (_, test), (_, again) in zip(divided, other, strict=True))


def test_a_group_is_in_one_fold():
    groups = [f"slide {number % 6}" for number in range(30)]
    for train, test in folds(made([number // 15 for number in range(30)], groups), 3, seed=0):
        assert not {groups[i] for i in train} & {groups[i] for i in test}


def test_folds_that_cannot_be_tested_are_refused():
    with pytest.raises(DataError, match=r"5 folds need at least 5 .* fewer of b \(3\)"):
        folds(made([0] * 10 + [1] * 3), 5, seed=0)
    labels = [0] * 6 + [1] * 6
    with pytest.raises(DataError, match="5 folds need at least 5 groups, and there are 2"):
        folds(made(labels, ["x", "y"] * 6), 5, seed=0)
    with pytest.raises(DataError, match="all images of b are of the group 'z'"):
        folds(made(labels, ["x", "y", "w"] * 2 + ["z"] * 6), 3, seed=0)


def test_a_class_of_two_groups_is_in_the_training_of_every_fold():
    cells = made([0] * 12 + [1] * 4, [*"xyzwuvxyzwuv", *"xxyy"])
    for train, _ in folds(cells, 4, seed=0):
        assert set(cells.labels[train]) == {0, 1}


def test_groups_of_which_a_fold_would_be_taught_too_few_classes_are_refused():
    groups = [*"011323003232"]
    cells = LabelledCells(groups, np.array([0, 1, 1, 2, 1, 2, 2, 0, 0, 0, 0, 0]), ["a", "b", "c"], groups)
    with pytest.raises(DataError, match="do not go into 2 folds: all groups of b are in one fold"):
        folds(cells, 2, seed=0)


def test_a_cell_counts_once_and_seeds_are_averaged():
    cells = made([0, 0, 0, 1, 1, 1])
    right = np.eye(2)[cells.labels] * 0.8 + 0.1
    worse = right.copy()
    worse[:2] = worse[:2, ::-1]
    figures = cross_validated(cells, np.stack([right, worse]), 3)
    metrics = figures.metrics
    assert (figures.unit, figures.folds, figures.groups) == (BY_IMAGE, 3, None)
    assert (metrics.count, metrics.correct, metrics.top1) == (6, 5, pytest.approx(5 / 6))
    assert metrics.top1_interval == wilson_interval(5, 6)
    assert metrics.per_class["a"].count == 3
    assert metrics.per_class["a"].sensitivity == pytest.approx((1 + 1 / 3) / 2)
    assert metrics.confusion == [[4, 2], [0, 6]]
    assert [seed.top1 for seed in figures.seeds] == pytest.approx([1, 4 / 6])
    assert figures.spread == pytest.approx(np.std([1, 4 / 6], ddof=1))
    assert [seed.auc for seed in figures.seeds] == pytest.approx([1, 2 / 3])  # 2 of 3 are tied with all of b
    assert figures.auc == pytest.approx(5 / 6)
    assert figures.seeds[0].weighted_f1 == 1


def test_groups_mark_the_figures_and_one_seed_has_no_spread():
    cells = made([0, 0, 1, 1], ["x", "y", "x", "y"])
    figures = cross_validated(cells, np.eye(2)[cells.labels][None], 2)
    assert (figures.unit, figures.groups, figures.spread) == (BY_GROUP, 2, None)


def test_predictions_have_a_row_for_each_seed_and_cell():
    cells = made([0, 1], ["x", "y"])
    probabilities = np.array([[[0.9, 0.1], [0.6, 0.4]]])
    rows = list(csv.DictReader(io.StringIO(predictions_csv(cells, np.array([[0, 1]]), probabilities).decode())))
    assert rows[1] == {
        "seed": "0", "fold": "2", "path": "b/1.jpg", "group": "y", "class": "b", "predicted": "a",
        "p_a": "0.600000", "p_b": "0.400000",
    }  # fmt: skip


def test_copies_are_left_out_and_join_their_groups(data_dir: Path, tmp_path: Path):
    folder = tmp_path / "cells"
    for name in ("ig", "monocyte"):
        shutil.copytree(data_dir / name, folder / name)
    first = min((folder / "ig").iterdir())
    shutil.copy(first, folder / "ig" / "zz.jpg")
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    groups = tmp_path / "groups.csv"
    groups.write_text("path,slide\n" + "".join(f"{path},{number}\n" for number, path in enumerate(paths)))
    said: list[str] = []
    cells = labelled_cells(folder, groups, said.append)
    assert cells.paths == [path for path in paths if path != "ig/zz.jpg"]
    assert cells.labels.tolist() == [0] * 4 + [1] * 4
    assert cells.groups is not None
    assert len(set(cells.groups)) == 8
    assert said == ["left out: 1 copy of other images, byte for byte"]
    shutil.copy(first, folder / "monocyte" / "zz.jpg")
    with pytest.raises(DataError, match=rf"ig/{first.name} and monocyte/zz\.jpg have the same bytes, in two classes"):
        labelled_cells(folder)
