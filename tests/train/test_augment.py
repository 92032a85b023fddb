import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cartcls.runtime.images.resize import Image
from cartcls.train import augment as augmentation
from cartcls.train.augment import (
    FIELD,
    add_noise,
    augment,
    augment_with_boxes,
    change_focus,
    change_laboratory,
    change_stain,
    coarsen,
    magnify,
    turn,
    turn_boxes,
    turns,
)
from cartcls.train.models.marzahl import intersection_over_union, stretched


@pytest.fixture
def cells(crops: Image) -> Tensor:
    """Four real cells, uint8, (4, 64, 64, 3)."""
    return torch.from_numpy(np.ascontiguousarray(crops[::8, 100:228:2, 100:228:2]))


def test_augmentation_keeps_shape_and_range_and_changes_every_cell(cells: Tensor):
    torch.manual_seed(0)
    changed = augment(cells)
    assert changed.shape == cells.shape
    assert changed.dtype == torch.float32
    assert 0 <= changed.min() < changed.max() <= 255
    assert ((changed - cells).abs().mean((1, 2, 3)) > 1).all()
    torch.manual_seed(0)
    assert torch.equal(augment(cells), changed)


def test_half_of_the_cells_are_turned_exactly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(augmentation, "ANY_TURN", 0)
    image = torch.arange(3 * 5 * 5).reshape(1, 3, 5, 5).float()
    expected = {
        tuple(turned.flatten().tolist())
        for k in range(4)
        for turned in (image[0].rot90(k, (1, 2)), image[0].flip(2).rot90(k, (1, 2)))
    }
    torch.manual_seed(0)
    seen = {tuple(turned.flatten().round().tolist()) for turned in turn(image.repeat(200, 1, 1, 1), turns(200))}
    assert seen == expected


def test_a_turned_cell_fills_its_canvas_from_itself():
    image = torch.rand(1, 1, 6, 9) * 0.5 + 0.5
    torch.manual_seed(0)
    turned = turn(image.repeat(100, 1, 1, 1), turns(100))
    assert turned.shape == (100, 1, 6, 9)
    assert image.min() - 1e-6 <= turned.min()
    assert turned.max() <= image.max() + 1e-6


def test_stain_leaves_white_and_black_alone_but_for_the_light(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(augmentation, "LIGHT", 0)
    ramp = torch.linspace(1 / 255, 1, 16).repeat(50, 3, 1)[:, :, None]
    torch.manual_seed(0)
    stained = change_stain(ramp)
    assert torch.allclose(stained[..., -1], torch.ones(()))
    assert (stained.diff(dim=-1) > 0).all()  # no grey overtakes another
    density = stained[..., 8].log() / ramp[..., 8].log()
    assert density.std() > 0.1


def test_focus_moves_the_contrast_of_fine_detail_both_ways():
    checkers = torch.zeros(200, 1, 8, 8) + 0.4
    checkers[..., ::2, ::2] = checkers[..., 1::2, 1::2] = 0.6
    torch.manual_seed(0)
    contrast = change_focus(checkers).std((1, 2, 3)) / checkers[0].std()
    assert contrast.min() < 0.5
    assert contrast.max() > 1.3
    assert ((contrast - 1).abs() < 1e-6).float().mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("change", [change_laboratory, coarsen, add_noise])
def test_only_images_from_elsewhere_are_varied_as_other_laboratories_differ(cells: Tensor, change):
    x = F.interpolate(cells.permute(0, 3, 1, 2).float() / 255, size=(290, 290), mode="bilinear")
    x = x[:1].repeat(40, 1, 1, 1)
    elsewhere = torch.arange(40) % 2 == 0
    torch.manual_seed(0)
    moved = (change(x, elsewhere) - x).abs().amax((1, 2, 3))
    assert moved[~elsewhere].max() < 1e-4  # rounding
    assert (moved[elsewhere] > 0.01).float().mean() > 0.5


def test_another_laboratory_has_another_background_and_other_colours(cells: Tensor):
    x = (cells.permute(0, 3, 1, 2).float() / 255)[:1].repeat(200, 1, 1, 1)
    torch.manual_seed(0)
    changed = change_laboratory(x, torch.ones(200, dtype=torch.bool))
    brightest = changed.flatten(2).quantile(0.9, 2)  # the background
    assert changed.min() >= 0 and changed.max() <= 1
    assert (brightest.std(0) > 0.05).all()
    assert (changed.mean((2, 3)).diff(dim=1).std(0) > 0.02).all()  # the channels do not move together


def test_a_coarser_image_keeps_its_brightness_and_loses_detail():
    checkers = (torch.arange(290)[:, None] + torch.arange(290)).remainder(2).float().repeat(100, 1, 1, 1)
    torch.manual_seed(0)
    coarse = coarsen(checkers, torch.ones(100, dtype=torch.bool))
    assert coarse.mean((1, 2, 3)) == pytest.approx(0.5, abs=0.02)
    assert (coarse.std((1, 2, 3)) < 0.25).float().mean() == pytest.approx(0.75, abs=0.15)
    small = checkers[..., :64, :64]
    assert torch.equal(coarsen(small, torch.ones(100, dtype=torch.bool)), small)  # has no more detail than that


def test_cells_from_elsewhere_are_seen_larger_or_smaller():
    matrix = torch.eye(2, 3).repeat(500, 1, 1)
    elsewhere = torch.arange(500) % 2 == 0
    torch.manual_seed(0)
    width = magnify(matrix, elsewhere)[:, 0, 0]
    assert (width[~elsewhere] == 1).all()
    assert FIELD[0] <= width[elsewhere].log().min() < 0.9 * FIELD[0]
    assert 0.9 * FIELD[1] < width[elsewhere].log().max() <= FIELD[1]


def around(bright: Tensor) -> Tensor:
    """Box of what is bright in images (B, 1, H, W)."""
    height, width = bright.shape[2:]
    boxes = []
    for mask in bright[:, 0] > 0.5:
        y, x = torch.nonzero(mask, as_tuple=True)
        left, right, top, bottom = x.min() / width, (x.max() + 1) / width, y.min() / height, (y.max() + 1) / height
        boxes.append(torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]))
    return stretched(torch.stack(boxes))


@pytest.mark.parametrize("free", [0, 1])
def test_boxes_turn_with_their_cells(monkeypatch: pytest.MonkeyPatch, free: int):
    monkeypatch.setattr(augmentation, "ANY_TURN", free)
    sample = F.grid_sample
    monkeypatch.setattr(F, "grid_sample", lambda *args, **how: sample(*args, **{**how, "padding_mode": "zeros"}))
    y, x = torch.meshgrid(torch.arange(120), torch.arange(160), indexing="ij")
    cell = (((x - 88) / 26) ** 2 + ((y - 54) / 16) ** 2 <= 1).float().repeat(60, 1, 1, 1)
    torch.manual_seed(0)
    matrix = turns(60)
    turned = around(turn(cell, matrix))
    assert (turned[:, 0] - turned[0, 0]).abs().max() > 0.1  # they do move
    assert intersection_over_union(turn_boxes(around(cell), matrix), turned).min() > 0.9


def test_a_box_ends_where_the_image_ends():
    beyond = turn_boxes(torch.tensor([[0.0, 0.0, 0.0, 0.0]]), torch.tensor([[[1.0, 0.0, 0.8], [0.0, 1.0, 0.0]]]))
    assert torch.allclose(beyond, torch.tensor([[-0.65, 0.0, -0.3, 0.0]]))


def test_images_are_augmented_alike_with_boxes_and_without(cells: Tensor):
    boxes = stretched(torch.tensor([[0.5, 0.5, 0.4, 0.4]])).repeat(len(cells), 1)
    torch.manual_seed(0)
    images, moved = augment_with_boxes(cells, boxes)
    assert moved.shape == boxes.shape
    torch.manual_seed(0)
    assert torch.equal(images, augment(cells))
