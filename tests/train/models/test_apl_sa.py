import pytest
import torch
from torch import Tensor

from cartcls.runtime.images.resize import Image
from cartcls.train.models.apl_sa import AplSa
from cartcls.train.models.base import normalize
from cartcls.train.models.build import build


@pytest.fixture
def cells(crops: Image) -> Tensor:
    """Eight real cells, one of each class, normalised, (8, 3, 90, 90)."""
    return normalize(torch.from_numpy(crops[::4, ::4, ::4][:, :90].copy()))


@pytest.fixture
def model() -> AplSa:
    torch.manual_seed(0)
    model = AplSa(8).eval()
    torch.nn.init.normal_(model.attention.conv.weight, std=0.02)
    return model


def test_at_first_all_positions_count_alike(cells: Tensor):
    assert (AplSa(8).eval().map_and_attention(cells)[1] == 0.5).all()


def test_the_attention_has_a_weight_for_each_position_before_the_last_stage(model: AplSa, cells: Tensor):
    features, attention = model.map_and_attention(cells)
    assert features.shape == (8, 512, 3, 3)
    assert attention.shape == (8, 1, 5, 5)
    assert 0 < attention.min() < attention.max() < 1
    assert attention.flatten(1).std(1).min() > 0  # of each cell


def test_what_has_no_attention_does_not_reach_the_last_stage(model: AplSa, cells: Tensor):
    seen: list[Tensor] = []
    model.layer3.register_forward_hook(lambda *args: seen.append(args[2]))
    model.layer4.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    _, attention = model.map_and_attention(cells)
    before, weighed = seen
    assert torch.equal(weighed, before * attention)
    planes = torch.stack([before.mean(1), before.amax(1)], 1)
    assert torch.allclose(attention, torch.sigmoid(model.attention.conv(planes)))  # CBAM's equation 3


def test_with_even_attention_it_is_resnet18(model: AplSa, cells: Tensor):
    resnet18 = build("resnet18", 8, (90, 90)).eval()
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("attention.")}
    resnet18.load_state_dict(own)
    torch.nn.init.zeros_(model.attention.conv.weight)
    model.layer3.register_forward_hook(lambda *args: 2 * args[2])
    assert torch.allclose(model(cells), resnet18(cells), atol=1e-5)


def test_grad_cam_is_exact(model: AplSa, cells: Tensor):
    features, _ = model.map_and_attention(cells)
    cams = torch.einsum("kd,ndhw->nkhw", model.fc.weight, features) / features[0, 0].numel()
    assert torch.allclose(cams.sum((2, 3)) + model.fc.bias, model(cells), atol=1e-5)
