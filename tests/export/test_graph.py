import numpy as np
import pytest
import torch

from cartcls.export.graph import GraphWithMaps, resized, resizing
from cartcls.train.models.base import normalize
from cartcls.train.models.build import build
from cartcls.train.models.ensemble import Ensemble

SIDE = 144  # RCMNet sees 128, with 4×4 positions; the others 72, with 3×3


@pytest.mark.parametrize(("found", "length"), [(5, 9), (5, 10), (8, 9), (9, 5), (3, 3), (1, 4)])
def test_a_resized_line_keeps_its_mean_and_what_is_even(found: int, length: int):
    matrix = resizing(found, length)
    assert torch.allclose(matrix.sum(1), torch.ones(length))
    assert torch.allclose(matrix.sum(0), torch.full((found,), length / found))
    ramp = matrix @ torch.linspace(0, 1, found)
    assert (ramp.diff() >= 0).all()


def test_a_resized_map_keeps_its_place():
    maps = torch.zeros(1, 1, 5, 4)
    maps[0, 0, 4, 1] = 1
    row, column = divmod(int(resized(maps, torch.Size((9, 9))).argmax()), 9)
    assert (row, column) == (8, 3)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    torch.manual_seed(0)
    model = build("rcmnet+efficientnet_lite0+efficientnet_lite2", 3, (SIDE, SIDE))
    assert isinstance(model, Ensemble)
    return model.eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)


def test_maps_of_an_ensemble_are_exact_and_of_all_its_networks(ensemble: Ensemble, images: np.ndarray):
    with torch.inference_mode():
        pixels = torch.from_numpy(images)
        maps = ensemble.feature_maps(normalize(pixels))
        logits, cams, features = GraphWithMaps(ensemble, half=False)(pixels)
        assert [tuple(last.shape[1:]) for last in maps] == [(512, 4, 4), (1280, 3, 3), (1280, 3, 3)]
        assert torch.allclose(logits, ensemble(normalize(pixels)), atol=1e-5)
        assert (cams.shape, features.shape) == ((2, 3, 4, 4), (2, 3968))
        assert torch.allclose(cams.sum((2, 3)) + ensemble.fc.bias, logits, atol=1e-5)
        assert torch.allclose(features[:, :3072], ensemble.features(normalize(pixels)), atol=1e-5)
