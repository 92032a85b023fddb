import copy
from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from graphs import onnx_bytes_once
from onnx import TensorProto, helper

from cartcls.export.graph import GraphWithMaps
from cartcls.export.onnx_graph import onnx_bytes
from cartcls.export.retype import emulate_half, to_float32
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.train.models.base import normalize
from cartcls.train.models.baselines import BASELINES
from cartcls.train.models.build import build
from cartcls.train.models.rcmnet import RCMNet, RelativeSelfAttention

SIZE = (64, 70)


@pytest.fixture(scope="module")
def model() -> RCMNet:
    """A small model whose batch norms and positions are not those of a new one."""
    torch.manual_seed(0)
    model = build("rcmnet", 5, SIZE)
    assert isinstance(model, RCMNet)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            module.running_mean = torch.randn(module.num_features) * 0.2
            module.running_var = torch.rand(module.num_features) + 0.5
    torch.nn.init.normal_(model.bot.attention.rel_height)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    torch.nn.init.normal_(model.bot.attention.rel_width)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    return model.eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIZE[1], SIZE[0], 3), np.uint8)


@pytest.fixture(scope="module")
def half(model: RCMNet) -> bytes:
    return onnx_bytes_once(model, SIZE, half=True)


def run(graph: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(np.asarray, session.run(None, {"image": images})), strict=True))


def test_the_float32_graph_is_the_model(model: RCMNet, images: np.ndarray):
    outputs = run(onnx_bytes_once(model, SIZE, half=False), images)
    with torch.inference_mode():
        logits = model(normalize(torch.from_numpy(images))).numpy()
    assert np.abs(outputs["logits"] - logits).max() < 1e-4
    sums = outputs["cams"].sum((2, 3)) + model.fc.bias.detach().numpy()
    assert np.abs(sums - logits).max() < 1e-4


def test_maps_are_grad_cam_by_autograd(model: RCMNet, images: np.ndarray):
    with torch.inference_mode():
        _, cams, _ = GraphWithMaps(model, half=False)(torch.from_numpy(images))
    for index in range(5):
        last_map = model.feature_map(normalize(torch.from_numpy(images))).detach().requires_grad_()
        score = model.fc(last_map.mean((2, 3)))[:, index].sum()
        gradient = torch.autograd.grad(score, last_map)[0]
        alpha = gradient.mean((2, 3), keepdim=True)  # equation 7
        expected = (alpha * last_map).sum(1)  # equation 8 before its ReLU
        assert torch.allclose(cams[:, index], expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # pytorch-grad-cam's own
def test_maps_are_those_of_pytorch_grad_cam(model: RCMNet, images: np.ndarray):
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    inputs = normalize(torch.from_numpy(images))
    with torch.inference_mode():
        _, cams, _ = GraphWithMaps(model, half=False)(torch.from_numpy(images))
    for index in range(5):
        with GradCAM(model, [model.bot]) as oracle:
            targets: list[Any] = [ClassifierOutputTarget(index)] * len(images)
            theirs = oracle(inputs, targets)
        maps = scale_cam_image(np.maximum(cams[:, index].numpy(), 0), (SIZE[0], SIZE[1]))
        assert np.abs(scale_cam_image(maps) - theirs).max() < 1e-4


def test_the_half_graph_is_half_and_close(model: RCMNet, images: np.ndarray, half: bytes):
    exact = run(onnx_bytes_once(model, SIZE, half=False), images)["logits"]
    emulated = run(emulate_half(half), images)["logits"]
    difference = np.abs(emulated - exact).max()
    assert 0 < difference < 0.02 * np.abs(exact).max()
    types = Counter(tensor.data_type for tensor in onnx.load_from_string(half).graph.initializer)
    assert types[TensorProto.FLOAT16] > 100


def test_a_half_graph_retyped_is_all_float32_and_gives_nearly_the_same(half: bytes, images: np.ndarray):
    full = to_float32(half)
    typed = onnx.shape_inference.infer_shapes(onnx.load_from_string(full)).graph
    tensors = [value.type.tensor_type.elem_type for value in typed.value_info]
    assert TensorProto.FLOAT16 not in [*tensors, *(tensor.data_type for tensor in typed.initializer)]
    assert to_float32(full) == full
    assert np.abs(run(full, images)["logits"] - run(half, images)["logits"]).max() < 0.05


def test_emulation_shows_an_overflow_that_onnxruntime_hides():
    half = TensorProto.FLOAT16
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])]
    constants = [helper.make_tensor("four", half, [], [4.0]), helper.make_tensor("eighth", half, [], [0.125])]
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=half),
        helper.make_node("Mul", ["h", "four"], ["big"]),
        helper.make_node("Mul", ["big", "eighth"], ["small"]),
        helper.make_node("Cast", ["small"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(nodes, "overflow", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(emulate_half(model), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.array([60000, 3], np.float32)})
    assert np.isinf(np.asarray(y)[0])
    assert np.asarray(y)[1] == 1.5


def test_without_its_islands_attention_overflows(model: RCMNet, images: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    model = copy.deepcopy(model)
    attention = model.bot.attention
    assert isinstance(attention, RelativeSelfAttention)
    with torch.no_grad():
        attention.query.weight *= 300
        attention.key.weight *= 300
    assert np.isfinite(run(emulate_half(onnx_bytes(model, SIZE, half=True)), images)["logits"]).all()

    def all_in_half(self: RelativeSelfAttention, x: torch.Tensor) -> torch.Tensor:
        _, channels, height, width = x.shape
        split = (-1, self.heads, self.head_channels, height * width)
        q, k, v = (layer(x).reshape(split) for layer in (self.query, self.key, self.value))
        q = q.transpose(2, 3) * self.head_channels**-0.5
        weights = (q @ k + self.position_logits(q.float(), height, width).to(q.dtype)).softmax(-1)
        return (v @ weights.transpose(2, 3)).reshape(-1, channels, height, width)

    monkeypatch.setattr(RelativeSelfAttention, "forward", all_in_half)
    assert np.isfinite(run(onnx_bytes(model, SIZE, half=False), images)["logits"]).all()
    assert not np.isfinite(run(emulate_half(onnx_bytes(model, SIZE, half=True)), images)["logits"]).all()


def test_batch_norms_keep_their_names_for_further_training(model: RCMNet, half: bytes):
    names = {tensor.name for tensor in onnx.load_from_string(half).graph.initializer}
    trained = {f"model.{name}" for name in model.state_dict() if "num_batches" not in name and ".rel_" not in name}
    assert trained - names <= {"model.fc.weight", "model.fc.bias"}


@pytest.mark.parametrize("arch", BASELINES)
def test_comparisons_are_exported_without_maps(arch: str, images: np.ndarray):
    torch.manual_seed(0)
    model = build(arch, 5, SIZE).eval()
    outputs = run(onnx_bytes(model, SIZE, half=True), images)
    assert outputs.keys() == {"logits", "features"}
    with torch.inference_mode():
        logits = model(normalize(torch.from_numpy(images))).numpy()
    assert np.abs(outputs["logits"] - logits).max() < 0.01 * max(1, np.abs(logits).max())


def test_attention_uses_only_operators_that_every_engine_has(bundle: Bundle):
    graph = onnx.load_from_string(bundle.model).graph
    types = [node.op_type for node in graph.node]
    last = len(types) - 1 - types[::-1].index("Softmax")
    first = last
    while types[first] != "Conv":
        first -= 1
    following = types.index("BatchNormalization", last)
    attention = set(types[first + 1 : following])
    assert attention <= {"MatMul", "Add", "Mul", "Reshape", "Transpose", "Cast", "Softmax"}
    assert not {"Einsum", "Gather", "Expand", "If", "Loop"} & set(types)
    assert types.index("Shape") < types.index("Resize") < types.index("Conv")  # of the images for RCMNet, no other
    assert types.count("Shape") == types.count("Resize") == 1


def test_the_graph_takes_uint8_of_any_batch_and_gives_float32(bundle: Bundle):
    graph = onnx.load_from_string(bundle.model).graph
    shapes = {
        value.name: [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {
        "image": ["batch", bundle.height, bundle.width, 3],
        "logits": ["batch", 8],
        "cams": ["batch", 8, 9, 9],
        "features": ["batch", 3968],
    }
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert {output.type.tensor_type.elem_type for output in graph.output} == {TensorProto.FLOAT}
