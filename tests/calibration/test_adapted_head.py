from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from msgspec import structs

from cartcls.calibration.adapted_head import (
    HOME_CELLS,
    HOME_PER_CLASS,
    HomeCells,
    fit_adapted_head,
    home_cells_file,
    read_home_cells,
)
from cartcls.calibration.limits import gaussians
from cartcls.runtime.bundle.bundle import Bundle, BundleFile
from cartcls.runtime.errors import BundleError

NAMES = ["a", "b", "c"]
RANDOM = np.random.default_rng(0)
CENTERS = RANDOM.normal(size=(3, 40)) * 2
NONE = HomeCells(np.zeros((0, 40)), np.zeros(0, np.intp), NAMES)

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def drawn(*counts: int, noise: float = 1.5) -> tuple[Floats, Indices]:
    labels = np.repeat(np.arange(3), counts)
    return CENTERS[labels] + RANDOM.normal(size=(len(labels), 40)) * noise, labels


def right(features: Floats, labels: Indices, home: HomeCells, shift: float, noise: float = 1.5) -> float:
    usual = gaussians(*drawn(200, 200, 200, noise=noise))
    head = fit_adapted_head((features + shift)[:, None], labels, usual, home)
    others, truth = drawn(300, 300, 300, noise=noise)
    return float((head.logits(others + shift).argmax(1) == truth).mean())


def test_a_head_of_few_cells_is_right_wherever_the_laboratory_lies_and_whatever_its_mix():
    features, labels = drawn(5, 5, 40)
    assert right(features, labels, NONE, 0) > 0.9
    assert right(features, labels, NONE, 7) == pytest.approx(right(features, labels, NONE, 0), abs=0.05)


def test_each_of_two_classes_has_weights_for_its_own_heat_map():
    features, labels = drawn(30, 30, 0)
    usual = gaussians(*drawn(200, 200, 200))
    head = fit_adapted_head(np.abs(features)[:, None], labels, usual, NONE)
    assert (head.weight.min(0) == 0).all()
    assert all((weights > 0).sum() > 5 for weights in head.weight)
    one_against_other = fit_adapted_head(np.abs(features)[:, None], 1 - labels, usual, NONE)
    assert np.allclose(head.weight[::-1], one_against_other.weight)
    called = head.logits(np.abs(features)).argmax(1)
    assert (called == labels).mean() > 0.95


def test_cells_of_home_help_where_there_are_few():
    features, labels = drawn(3, 3, 3, noise=6)
    home = HomeCells(*drawn(40, 40, 40, noise=6), NAMES)
    assert right(features, labels, home, 3, noise=6) > right(features, labels, NONE, 3, noise=6)


def test_of_home_only_cells_of_the_same_classes_count():
    home = HomeCells(*drawn(1, 2, 3), NAMES).of(["new", "c", "a"])
    assert home.labels.tolist() == [2, 1, 1, 1]
    assert len(HomeCells(*drawn(1, 2, 3), NAMES).of(["new", "newer"]).labels) == 0


def test_home_cells_come_back_from_a_bundle(bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    features, labels = drawn(HOME_PER_CLASS + 5, 3, 4)
    data = home_cells_file(features, labels)
    files = {name: digest for name, digest in bundle.manifest.files.items() if name != HOME_CELLS}
    without = replace(bundle, manifest=structs.replace(bundle.manifest, files=files))
    with pytest.raises(BundleError, match=r"has no home\.npz: calibrate it again"):
        read_home_cells(without)
    monkeypatch.setattr(BundleFile, "read", lambda file: data)
    with pytest.raises(BundleError, match=r"home\.npz .*40 features of each cell, and the calibration has 1\)"):
        read_home_cells(bundle)
    assert bundle.calibration is not None
    usual = gaussians(*drawn(20, 20, 20))
    bundle = replace(bundle, calibration=replace(bundle.calibration, features=usual))
    found = read_home_cells(bundle)
    assert np.bincount(found.labels).tolist() == [HOME_PER_CLASS, 3, 4]
    assert np.allclose(found.features[:3], features[:3], atol=0.01)
    monkeypatch.setattr(BundleFile, "read", lambda file: data[:99])
    with pytest.raises(BundleError, match="is malformed"):
        read_home_cells(bundle)


def test_each_view_of_a_cell_trains_the_head_and_counts_as_a_share_of_it():
    features, labels = drawn(20, 20, 20)
    usual = gaussians(*drawn(200, 200, 200))
    once = fit_adapted_head(features[:, None], labels, usual, NONE)
    same = fit_adapted_head(np.repeat(features[:, None], 6, 1), labels, usual, NONE)
    np.testing.assert_allclose(same.weight, once.weight, rtol=1e-6, atol=1e-9)
    others = features[:, None] + RANDOM.normal(size=(60, 6, 40))
    mean = fit_adapted_head(others.mean(1, keepdims=True), labels, usual, NONE)
    assert not np.allclose(fit_adapted_head(others, labels, usual, NONE).weight, mean.weight, rtol=0.01)
