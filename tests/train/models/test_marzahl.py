import math

import pytest
import torch
from torch import Tensor

from cartcls.runtime.images.resize import Image
from cartcls.train.models.base import normalize
from cartcls.train.models.marzahl import Marzahl, intersection_over_union, marzahl_loss, stretched


@pytest.fixture
def cells(crops: Image) -> Tensor:
    """Eight real cells, one of each class, normalised, (8, 3, 64, 64)."""
    return normalize(torch.from_numpy(crops[::4, 54:310:4, 52:308:4].copy()))


@pytest.fixture
def model() -> Marzahl:
    torch.manual_seed(0)
    return Marzahl(8)


def test_a_cell_has_logits_and_a_box_within_the_scale(model: Marzahl, cells: Tensor):
    logits, boxes = model.eval().class_and_box(cells)
    assert logits.shape == (8, 8)
    assert boxes.shape == (8, 4)
    assert boxes.abs().max() < 1
    assert torch.equal(logits, model(cells))
    assert torch.equal(logits, model.fc(model.features(cells)))


def test_a_box_is_the_sigmoid_stretched_from_minus_1_to_1(model: Marzahl, cells: Tensor):
    last = model.box[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([0.0, math.log(3), -math.log(3), 30.0])
    _, boxes = model.eval().class_and_box(cells)
    assert torch.allclose(boxes, torch.tensor([0.0, 0.5, -0.5, 1.0]).expand(8, 4))


def test_average_and_maximum_of_the_map_reach_the_heads(model: Marzahl, cells: Tensor):
    pooled, features = model.eval()._pooled(cells), model.body.feature_map(cells)
    assert torch.allclose(pooled[:, :512], features.mean((2, 3)))
    assert torch.allclose(pooled[:, 512:], features.amax((2, 3)))


def test_each_part_of_the_loss_reaches_its_own_head_and_the_body(model: Marzahl, cells: Tensor):
    logits, boxes = model.class_and_box(cells)
    for output, own, others in ((logits, model.hidden, model.box), (boxes, model.box, model.hidden)):
        model.zero_grad()
        output.square().sum().backward(retain_graph=True)
        assert all(weight.grad is not None for weight in own.parameters())
        assert not any(weight.grad is not None and weight.grad.any() for weight in others.parameters())
        assert model.body.conv1.weight.grad is not None
        assert model.body.conv1.weight.grad.any()
    model.zero_grad()
    marzahl_loss(logits, boxes, torch.arange(8), torch.zeros(8, 4)).backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_the_loss_is_cross_entropy_plus_mean_absolute_error():
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])  # probabilities 1/4, 3/4 and 1/2, 1/2
    boxes, true = torch.zeros(2, 4), torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, -0.6, 0.0]])
    loss = marzahl_loss(logits, boxes, torch.tensor([1, 0]), true)
    assert float(loss) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2 + 1.6 / 8)


def test_steps_on_a_few_cells_lower_the_loss(model: Marzahl, cells: Tensor):
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    labels, true = torch.arange(8), stretched(torch.tensor([[0.5, 0.5, 0.4, 0.3]])).expand(8, 4)
    losses = []
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for _ in range(2):
        loss = marzahl_loss(*model.class_and_box(cells), labels, true)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]


def test_boxes_are_compared_by_their_common_area():
    first = stretched(
        torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 0.2, 0.4], [0.2, 0.2, 0.2, 0.2], [0.5, 0.5, 0.0, 0.0]])
    )
    second = stretched(
        torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.6, 0.5, 0.2, 0.4], [0.8, 0.2, 0.2, 0.2], [0.5, 0.5, 0.0, 0.0]])
    )
    found = intersection_over_union(first, second)
    assert torch.allclose(found, torch.tensor([1.0, 1 / 3, 0.0, 0.0]), atol=1e-5)
    assert torch.allclose(intersection_over_union(second, first), found)
