import math

import pytest
import torch

from cartcls.train.models.build import build
from cartcls.train.models.rcmnet import (
    CBAM,
    BasicBlock,
    RCMNet,
    RelativeSelfAttention,
    interpolate_table,
    max_pool,
    relative_vectors,
)


def test_rcmnet_has_the_parameters_of_the_paper():
    model = build("rcmnet", 8, (360, 363))
    assert sum(parameter.numel() for parameter in model.parameters()) == 12_588_120


def test_resnet18_is_torchvisions():
    from torchvision.models import resnet18

    ours, theirs = build("resnet18", 8, (96, 96)), resnet18(num_classes=8)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        assert torch.allclose(ours.eval()(images), theirs.eval()(images), atol=1e-5)


def test_attention_is_the_papers_equation_token_by_token():
    height, width, heads = 3, 4, 2
    attention = RelativeSelfAttention(8, heads, (height, width))
    torch.nn.init.normal_(attention.rel_height)
    torch.nn.init.normal_(attention.rel_width)
    x = torch.randn(2, 8, height, width)
    with torch.inference_mode():
        q, k, v = (
            layer(x).reshape(2, heads, 4, height, width) for layer in (attention.query, attention.key, attention.value)
        )
        expected = torch.zeros(2, heads, 4, height, width)
        for y in range(height):
            for x_ in range(width):
                scaled = q[:, :, :, y, x_] * 4**-0.5
                logits = torch.stack(
                    [
                        (scaled * k[:, :, :, i, j]).sum(-1)
                        + scaled @ attention.rel_height[i - y + height - 1]
                        + scaled @ attention.rel_width[j - x_ + width - 1]
                        for i in range(height)
                        for j in range(width)
                    ],
                    dim=-1,
                )
                expected[:, :, :, y, x_] = torch.einsum("bnt,bndt->bnd", logits.softmax(-1), v.flatten(3))
        assert torch.allclose(attention(x), expected.reshape(2, 8, height, width), atol=1e-5)


def test_cbam_weighs_channels_first_and_then_places():
    cbam = CBAM(32, reduction=16)
    x = torch.randn(2, 32, 9, 11)
    first, second = (weight[:, :, 0, 0] for weight in cbam.channel.parameters())
    kernel = cbam.spatial.conv.weight[0]
    with torch.inference_mode():
        shared = [(pooled @ first.T).relu() @ second.T for pooled in (x.mean((2, 3)), x.amax((2, 3)))]
        channels = x * torch.sigmoid(shared[0] + shared[1])[:, :, None, None]
        planes = torch.stack([channels.mean(1), channels.amax(1)], 1)
        windows = torch.nn.functional.pad(planes, (3, 3, 3, 3)).unfold(2, 7, 1).unfold(3, 7, 1)
        expected = channels * torch.sigmoid((windows * kernel[:, None, None]).sum((1, 4, 5)))[:, None]
        assert torch.allclose(cbam(x), expected, atol=1e-5)


def test_cbam_stands_between_the_second_batch_norm_and_the_shortcut():
    block = BasicBlock(16, 16, stride=1, cbam=True).eval()
    torch.nn.init.normal_(block.bn2.weight)
    x = torch.randn(1, 16, 8, 8)
    with torch.inference_mode():
        inner = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu()))
        assert torch.allclose(block(x), (block.cbam(inner) + x).relu())


def test_attention_is_timms_with_the_same_weights():
    from timm.layers.bottleneck_attn import BottleneckAttn

    ours = RelativeSelfAttention(32, 4, (5, 6))
    theirs = BottleneckAttn(32, feat_size=(5, 6), num_heads=4, scale_pos_embed=True)
    for table in (ours.rel_height, ours.rel_width):
        torch.nn.init.normal_(table)
    theirs.load_state_dict(
        {
            "qkv.weight": torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]),
            "pos_embed.height_rel": ours.rel_height,
            "pos_embed.width_rel": ours.rel_width,
        }
    )
    x = torch.randn(3, 32, 5, 6)
    with torch.inference_mode():
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_cbam_is_timms_with_the_same_weights():
    from timm.layers.cbam import CbamModule

    ours, theirs = CBAM(32, reduction=16), CbamModule(32, rd_ratio=1 / 16)
    first, second = ours.channel.parameters()
    theirs.channel.fc1.weight, theirs.channel.fc2.weight = first, second
    theirs.spatial.conv.conv.weight = ours.spatial.conv.weight
    theirs.spatial.conv.bn = torch.nn.Identity()  # the paper has none
    x = torch.randn(3, 32, 9, 11)
    with torch.inference_mode():
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 4, 182, 180), (1, 3, 7, 8), (1, 1, 1, 1)])
def test_a_compiled_step_pools_alike(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch):
    count = math.prod(shape)
    x = ((torch.randperm(count) + 1) / count).reshape(shape).requires_grad_()  # no two alike
    plain = max_pool(x)
    assert torch.equal(plain, torch.nn.functional.max_pool2d(x, 3, stride=2, padding=1))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    compiled = max_pool(x)
    assert torch.equal(plain, compiled)
    weights = torch.rand_like(plain)
    gradients = [torch.autograd.grad((pooled * weights).sum(), x)[0] for pooled in (plain, compiled)]
    torch.testing.assert_close(*gradients)


def test_relative_vectors_are_a_lookup_by_distance():
    table = torch.randn(2 * 5 - 1, 3)
    vectors = relative_vectors(table, 5)
    for i in range(5):
        for j in range(5):
            assert (vectors[i, j] == table[j - i + 4]).all()


@pytest.mark.parametrize("rows", [1, 7, 13, 23, 31])
def test_interpolated_tables_keep_their_middle_and_their_slope(rows: int):
    ramp = torch.linspace(-1, 1, 23)[:, None].repeat(1, 4)
    table = interpolate_table(ramp, rows)
    assert table.shape == (rows, 4)
    assert table[rows // 2].abs().max() < 1e-6
    assert torch.allclose(table, -table.flip(0), atol=1e-6)
    assert (table.diff(dim=0) > 0).all()


def test_a_table_comes_back_from_a_finer_one():
    table = torch.randn(2 * 12 - 1, 4)
    finer = interpolate_table(table, 2 * len(table) - 1)
    assert torch.allclose(finer[::2], table, atol=1e-6)
    assert torch.allclose(finer[1::2], (table[1:] + table[:-1]) / 2, atol=1e-6)


def test_shrinking_a_table_moves_every_row():
    table = torch.zeros(23, 4, requires_grad=True)
    interpolate_table(table, 7).sum().backward()
    assert table.grad is not None
    assert (table.grad > 0).all()


def test_weights_move_between_the_papers_two_sizes_unchanged():
    state = build("rcmnet", 8, (360, 363)).state_dict()
    build("rcmnet", 8, (384, 384)).load_state_dict(state)


@pytest.mark.parametrize(("arch", "widths"), [("rcmnet", [512, 128, 256, 512]), ("resnet18_c", [512, 128, 256])])
def test_maps_of_inner_stages_come_after_the_one_that_the_head_reads(arch: str, widths: list[int]):
    model = build(arch, 3, (64, 64)).eval()
    assert isinstance(model, RCMNet)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        maps = model.all_maps(images)
        assert torch.equal(maps[0], model.feature_map(images))
        assert torch.equal(model.features(images), maps[0].mean((2, 3)))
    assert [last.shape[1] for last in maps] == widths
    assert model.inner_channels == sum(widths[1:])
    assert [last.shape[2] for last in maps[1:4]] == [8, 4, 2][: len(widths) - 1]
