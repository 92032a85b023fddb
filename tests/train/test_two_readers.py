import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cartcls.export.bundle import export_bundle
from cartcls.runtime.backend import Outputs
from cartcls.runtime.bundle import load_bundle
from cartcls.runtime.errors import DataError
from cartcls.runtime.open_backend import open_backend
from cartcls.train.checkpoint import load_checkpoint
from cartcls.train.data import Stage
from cartcls.train.images import load_images
from cartcls.train.model import build, normalize
from cartcls.train.start import graph_weights, read_start, start_from
from cartcls.train.training import fit
from cartcls.train.two_readers import join

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's and the exporter's own


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, split_file: Path) -> tuple[Path, Path]:
    """Checkpoints of two readers, trained on real cells for a step or two."""
    out = tmp_path_factory.mktemp("readers")
    fit(data_dir, split_file, "rcmnet", out / "first", [Stage((64, 64), 1)], batch_size=8, seed=0)
    fit(data_dir, split_file, "efficientnet_lite0", out / "second", [Stage((32, 32), 1)], batch_size=8, seed=0)
    return out / "first" / "best.ckpt", out / "second" / "best.ckpt"


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory, readers: tuple[Path, Path]) -> Path:
    return join(*readers, tmp_path_factory.mktemp("joined") / "run")


@pytest.fixture(scope="module")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory, joined: Path) -> Path:
    directory = tmp_path_factory.mktemp("bundle") / "both"
    export_bundle(joined, directory)
    return directory


def test_the_answer_is_the_mean_of_both(readers: tuple[Path, Path], joined: Path, crops: np.ndarray):
    first, second = (load_checkpoint(file).model for file in readers)
    both = load_checkpoint(joined)
    images = normalize(torch.from_numpy(crops[:4])).float()
    images = F.interpolate(images, (64, 64), mode="area")
    with torch.inference_mode():
        answers = first(images), second(F.avg_pool2d(images, 2))
        assert (answers[0] - answers[1]).abs().max() > 0.1
        assert torch.allclose(both.model(images), (answers[0] + answers[1]) / 2, atol=1e-5)
    assert both.image_size == (64, 64)


def test_a_bundle_of_both_gives_exact_maps_and_the_first_ones_features(
    readers: tuple[Path, Path], bundle_dir: Path, data_dir: Path
):
    bundle = load_bundle(bundle_dir)
    first = load_checkpoint(readers[0])
    paths = [str(path.relative_to(data_dir)) for path in sorted(data_dir.glob("*/*"))[:4]]
    images = load_images(data_dir, paths, first.classes, first.image_size).images
    backend = open_backend(bundle, "openvino")
    outputs: Outputs = backend.infer(images)
    backend.close()
    with torch.inference_mode():
        features = first.model.features(normalize(torch.from_numpy(images))).numpy()
    assert np.abs(outputs.features - features).max() < 0.05 * np.abs(features).max()  # half precision
    assert outputs.cams is not None
    bias = graph_weights(bundle.model, bundle_dir)["fc.bias"].numpy()
    assert np.abs(outputs.cams.sum((2, 3)) + bias - outputs.logits).max() < 1e-3


def test_the_model_card_tells_of_both(bundle_dir: Path, data_dir: Path):
    card = (bundle_dir / "MODEL_CARD.md").read_text()
    told = card.split("## Where it came from\n")[1].splitlines()[:5]
    assert "--arch rcmnet --sizes 64x64:1" in told[0]
    assert "--arch efficientnet_lite0 --sizes 32x32:1" in told[2]
    assert told[1] == told[3] == "    # the weights of epoch 1 of 1"
    assert told[4] == "    python -m cartcls.train join rcmnet.ckpt efficientnet_lite0.ckpt --out RUN_DIR"
    assert str(data_dir) not in (bundle_dir / "bundle.json").read_text()


def test_a_training_that_starts_from_both_takes_its_own(readers: tuple[Path, Path], joined: Path, bundle_dir: Path):
    for file, arch in zip(readers, ("rcmnet", "efficientnet_lite0"), strict=True):
        reader = load_checkpoint(file)
        expected = reader.model.state_dict()
        for place, limit in ((joined, 1e-6), (bundle_dir, 2e-3)):
            start = read_start(place, arch)
            model = build(arch, len(reader.classes), reader.image_size)
            assert start_from(model, arch, reader.classes, start)
            for name, value in model.state_dict().items():
                if name != "fc.bias" and value.is_floating_point():
                    most = max(1, float(expected[name].abs().max()))
                    assert (value - expected[name]).abs().max() <= limit * most, name


def test_the_first_reader_may_be_a_bundle_or_of_one(
    readers: tuple[Path, Path], joined: Path, bundle_dir: Path, tmp_path: Path
):
    again = load_checkpoint(join(bundle_dir, readers[1], tmp_path / "again"))
    expected = load_checkpoint(joined)
    name = "first.conv1.weight"
    assert (again.model.state_dict()[name] - expected.model.state_dict()[name]).abs().max() < 2e-3
    first = again.provenance["readers"][0]
    assert first["bundle.json"] == load_bundle(bundle_dir).sha256
    assert first["source"]["stages"] == expected.provenance["readers"][0]["source"]["stages"]


def test_what_does_not_fit_is_said(readers: tuple[Path, Path], joined: Path, tmp_path: Path):
    first, second = readers
    with pytest.raises(DataError, match="the first reader is rcmnet, the second efficientnet_lite0"):
        join(second, first, tmp_path / "run")
    with pytest.raises(DataError, match="exists already"):
        join(first, second, joined.parent)
    alone = tmp_path / "alone.ckpt"
    shutil.copy(second, alone)
    with pytest.raises(DataError, match=r"split\.csv does not exist"):
        join(first, alone, tmp_path / "run")
    for name, value, message in (
        ("image_size", (40, 40), "half of what"),
        ("classes", list("abcdefgh"), "knows other classes"),
        ("provenance", {"split_sha256": "0"}, "was not trained on the images and the split"),
    ):
        changed = torch.load(second, weights_only=True)
        changed["hyper_parameters"][name] = value
        torch.save(changed, tmp_path / "changed.ckpt")
        with pytest.raises(DataError, match=message):
            join(first, tmp_path / "changed.ckpt", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_sides_whose_maps_do_not_fit_are_refused(readers: tuple[Path, Path], tmp_path: Path):
    resized = []
    for reader, side in zip(readers, (96, 48), strict=True):
        checkpoint = torch.load(reader, weights_only=True)
        settings = checkpoint["hyper_parameters"]
        settings["image_size"] = (side, side)
        weights = build(settings["arch"], len(settings["classes"]), (side, side)).state_dict()
        checkpoint["state_dict"] = {f"model.{name}": value for name, value in weights.items()}
        folder = tmp_path / str(side)
        folder.mkdir()
        torch.save(checkpoint, folder / "best.ckpt")
        shutil.copy(reader.parent / "split.csv", folder)
        resized.append(folder / "best.ckpt")
    with pytest.raises(DataError, match="maps do not fit each other"):
        join(resized[0], resized[1], tmp_path / "run")
