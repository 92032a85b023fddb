import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cartcls.export.bundle import export_bundle
from cartcls.runtime.bundle.bundle import load_bundle
from cartcls.runtime.bundle.provenance import Stage
from cartcls.runtime.errors import DataError
from cartcls.runtime.inference.backend import Outputs
from cartcls.runtime.inference.choose import open_backend
from cartcls.train.checkpoint import fitted_to, load_checkpoint
from cartcls.train.images import load_images
from cartcls.train.join import join
from cartcls.train.models.base import normalize
from cartcls.train.models.build import build
from cartcls.train.start import graph_weights, read_start, start_from
from cartcls.train.training import TrainingSettings, fit

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's and the exporter's own

ARCHS = ("rcmnet", "efficientnet_lite0", "efficientnet_lite2")


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, split_file: Path) -> list[Path]:
    """Checkpoints of three members, trained on real cells for a step or two; the last one as if by a script."""
    out = tmp_path_factory.mktemp("members")
    for arch, side in zip(ARCHS, (64, 32, 32), strict=True):
        fit(data_dir, split_file, out / arch, TrainingSettings([Stage((side, side), 1)], arch, batch_size=8))
    files = [out / arch / "best.ckpt" for arch in ARCHS]
    changed = torch.load(files[-1], weights_only=True)
    changed["hyper_parameters"]["provenance"]["command"] = "a script"
    torch.save(changed, files[-1])
    return files


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory, members: list[Path]) -> Path:
    return join(members[0], members[1:], tmp_path_factory.mktemp("joined") / "run")


@pytest.fixture(scope="module")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory, joined: Path) -> Path:
    directory = tmp_path_factory.mktemp("bundle") / "three"
    export_bundle(joined, directory, precision="fp32")  # one graph in place of two
    return directory


def test_the_answer_is_the_mean_of_all(members: list[Path], joined: Path, crops: np.ndarray):
    first, *others = (load_checkpoint(file).model for file in members)
    three = load_checkpoint(joined)
    images = normalize(torch.from_numpy(crops[:4])).float()
    images = F.interpolate(images, (64, 64), mode="area")
    with torch.inference_mode():
        smaller, half = F.interpolate(images, (57, 57), mode="bilinear"), F.avg_pool2d(images, 2)
        answers = torch.stack([first(smaller), *(other(half) for other in others)])
        assert torch.pdist(answers.flatten(1)).min() > 0.05  # each has its own
        assert torch.allclose(three.model(images), answers.mean(0), atol=1e-5)
    assert (three.arch, three.image_size) == ("rcmnet+efficientnet_lite0+efficientnet_lite2", (64, 64))


def test_a_bundle_of_all_gives_exact_maps_and_the_features_of_all(joined: Path, bundle_dir: Path, data_dir: Path):
    bundle = load_bundle(bundle_dir)
    three = load_checkpoint(joined)
    paths = [str(path.relative_to(data_dir)) for path in sorted(data_dir.glob("*/*"))[:4]]
    images = load_images(data_dir, paths, three.classes, three.image_size).images
    backend = open_backend(bundle, "openvino")
    outputs: Outputs = backend.infer(images)
    backend.close()
    with torch.inference_mode():
        features = three.model.features(normalize(torch.from_numpy(images))).numpy()
    members, inner = 512 + 1280 + 1280, 128 + 256 + 512
    assert outputs.features.shape == (4, members + inner)
    assert np.abs(outputs.features[:, :members] - features).max() < 0.1 * np.abs(features).max()  # bfloat16
    assert outputs.cams is not None
    bias = graph_weights(bundle.model, bundle_dir)["fc.bias"].numpy()
    assert np.abs(outputs.cams.sum((2, 3)) + bias - outputs.logits).max() < 1e-3


def test_every_weight_and_batch_statistic_of_all_comes_back_from_the_graph(joined: Path, bundle_dir: Path):
    model = load_checkpoint(joined).model
    weights = fitted_to(model, graph_weights(load_bundle(bundle_dir).model, bundle_dir))
    expected = {name: value for name, value in model.state_dict().items() if value.dtype == torch.float32}
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert (weights[name] - value).abs().max() <= 1e-3 * max(1, value.abs().max()), name


def test_the_model_card_tells_of_all(bundle_dir: Path, data_dir: Path):
    card = (bundle_dir / "MODEL_CARD.md").read_text()
    told = card.split("## Where it came from\n")[1].splitlines()[:7]
    for line, arch, size in zip(told[::2], ARCHS, ("64x64", "32x32", "32x32"), strict=False):
        assert f"--arch {arch} --sizes {size}:1" in line
    scripts = [line.startswith("    # by a script of this recipe: cartcls train fit") for line in told[:6:2]]
    assert scripts == [False, False, True]
    assert set(told[1:6:2]) == {"    # the weights of epoch 1 of 1"}
    files = "rcmnet.ckpt efficientnet_lite0.ckpt efficientnet_lite2.ckpt"
    assert told[6] == f"    cartcls train join {files} --out RUN_DIR"
    assert "3 networks read each cell" in card
    assert str(data_dir) not in (bundle_dir / "bundle.json").read_text()


def test_a_training_that_starts_from_all_takes_its_own(members: list[Path], joined: Path, bundle_dir: Path):
    for file, arch in zip(members, ARCHS, strict=True):
        member = load_checkpoint(file)
        expected = member.model.state_dict()
        for place, limit in ((joined, 1e-6), (bundle_dir, 2e-3)):
            start = read_start(place, arch)
            model = build(arch, len(member.classes), member.image_size)
            assert start_from(model, arch, member.classes, start)
            for name, value in model.state_dict().items():
                if name != "fc.bias" and value.is_floating_point():
                    most = max(1, float(expected[name].abs().max()))
                    assert (value - expected[name]).abs().max() <= limit * most, name


def test_the_first_member_may_be_a_bundle_or_of_one(
    members: list[Path], joined: Path, bundle_dir: Path, tmp_path: Path
):
    again = load_checkpoint(join(bundle_dir, members[1:], tmp_path / "again"))
    expected = load_checkpoint(joined)
    assert again.arch == expected.arch
    for name, value in again.model.state_dict().items():
        if name != "fc.bias" and value.is_floating_point():
            of = expected.model.state_dict()[name]
            assert (value - of).abs().max() <= 2e-3 * max(1, float(of.abs().max())), name
    first = again.provenance.members[0]
    assert first.bundle_sha256 == load_bundle(bundle_dir).sha256
    assert first.provenance.stages == expected.provenance.members[0].provenance.stages


def test_what_does_not_fit_is_said(members: list[Path], joined: Path, tmp_path: Path):
    first, second, third = members
    with pytest.raises(DataError, match="the first member is rcmnet"):
        join(second, [third], tmp_path / "run")
    with pytest.raises(DataError, match="the other members are efficientnet_lite0 or efficientnet_lite2"):
        join(first, [second, first], tmp_path / "run")
    with pytest.raises(DataError, match="have the same --arch"):
        join(first, [second, third, second], tmp_path / "run")
    with pytest.raises(DataError, match="exists already"):
        join(first, [second], joined.parent)
    with pytest.raises(DataError, match="are of rcmnet, efficientnet_lite0, efficientnet_lite2: train with --arch"):
        read_start(joined, "resnet18")
    alone = tmp_path / "alone.ckpt"
    shutil.copy(second, alone)
    with pytest.raises(DataError, match=r"split\.csv does not exist"):
        join(first, [alone], tmp_path / "run")
    for name, value, message in (
        ("provenance", {"stages": [{"size": [40, 40], "epochs": 1}]}, "last trained at 40x40, not at 32x32, half of"),
        ("classes", list("abcdefgh"), "has other classes"),
        ("provenance", {"split_sha256": "0"}, "was not trained on the images and the split"),
    ):
        changed = torch.load(third, weights_only=True)
        held = changed["hyper_parameters"]
        held[name] = {**held[name], **value} if isinstance(value, dict) else value
        torch.save(changed, tmp_path / "changed.ckpt")
        with pytest.raises(DataError, match=message):
            join(first, [second, tmp_path / "changed.ckpt"], tmp_path / "run")
    assert not (tmp_path / "run").exists()
