"""RCMNet with a second reader: another network looks at each cell too, and the answer is the mean of both.

A second reader that learned from other pictures first (ImageNet) makes other mistakes. At half the image's width
EfficientNet-Lite0 adds a twentieth to RCMNet's multiplications.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.bundle import load_bundle
from ..runtime.errors import DataError
from .checkpoint import Checkpoint, load_checkpoint
from .model import RCMNET_LITE0, STRIDE, MapClassifier, build
from .start import HEAD, checkpoint_provenance, read_start, start_from
from .teacher import EfficientNetLite0

FIRST_ARCH, SECOND_ARCH = "rcmnet", "efficientnet_lite0"
OF_DATA = ("data_dir", "data_sha256", "split_file", "split_sha256", "split_unit", "preprocessing")  # in a provenance


class TwoReaders(MapClassifier):
    """RCMNet at full size and EfficientNet-Lite0 at half.

    The mean of two linear heads is one linear head on both feature maps, one behind the other; so heat maps are exact
    here as well, and show what both looked at.
    """

    def __init__(self, num_classes: int, image_size: tuple[int, int]):
        """Build the network.

        Args:
            num_classes: Number of logits K.
            image_size: Width and height in pixels that the first reader is for.
        """
        super().__init__()
        self.first: Any = build(FIRST_ARCH, num_classes, image_size)
        self.second = EfficientNetLite0(num_classes)
        self.channels = self.first.fc.in_features
        self.fc = nn.Linear(self.channels + self.second.fc.in_features, num_classes)
        del self.first.fc, self.second.fc

    def feature_map(self, x: Tensor) -> Tensor:
        """Both last feature maps A (N, 512 + 1280, h, w) of normalised images (N, 3, H, W)."""
        second = self.second.feature_map(F.avg_pool2d(x, 2))
        second = F.interpolate(second, scale_factor=2.0, mode="bilinear")  # which keeps the mean of a map
        return torch.cat([self.first.feature_map(x), second], 1)

    def distance_features(self, features: Tensor) -> Tensor:
        """The first reader's features (N, 512)."""
        return features[:, : self.channels]


def join(first_path: Path, second_file: Path, out: Path) -> Path:
    """Make one model of two trained ones.

    Args:
        first_path: Checkpoint or bundle folder of RCMNet.
        second_file: Checkpoint of EfficientNet-Lite0 in its run folder, of the same images and split, for half the
            width and height.
        out: Run folder to make.

    Returns:
        The checkpoint in it.

    Raises:
        DataError: The two do not fit each other, or `out` exists.
        BundleError: The bundle cannot be used.
    """
    first, provenance = _read(first_path)
    second = load_checkpoint(second_file)
    _check(first_path, first, second_file, second)
    split = second_file.parent / "split.csv"
    if not split.exists():
        raise DataError(f"{split} does not exist: name a checkpoint in its run folder")
    if out.exists():
        raise DataError(f"{out} exists already: choose another --out")
    model = TwoReaders(len(first.classes), first.image_size)
    for reader, trained in ((model.first, first), (model.second, second)):
        weights = trained.model.state_dict()
        reader.load_state_dict({name: value for name, value in weights.items() if not name.startswith(HEAD)})
    with torch.no_grad():
        model.fc.weight.copy_(torch.cat([first.model.fc.weight, second.model.fc.weight], 1) / 2)
        model.fc.bias.copy_((first.model.fc.bias + second.model.fc.bias) / 2)
    readers = [provenance, checkpoint_provenance(second_file, second)]
    settings = {
        "arch": RCMNET_LITE0,
        "classes": first.classes,
        "image_size": first.image_size,
        "provenance": {**{name: second.provenance[name] for name in OF_DATA}, "readers": readers},
    }
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    out.mkdir(parents=True)
    (out / split.name).write_bytes(split.read_bytes())
    checkpoint = out / "best.ckpt"
    torch.save({"state_dict": weights, "hyper_parameters": settings, "epoch": first.epochs - 1}, checkpoint)
    return checkpoint


def _read(path: Path) -> tuple[Checkpoint, dict[str, Any]]:
    """The first reader, and where it comes from."""
    if not path.is_dir():
        checkpoint = load_checkpoint(path)
        return checkpoint, checkpoint_provenance(path, checkpoint)
    bundle, start = load_bundle(path), read_start(path)
    source = bundle.manifest["source"]
    if "readers" in source:
        reader = source["readers"][0]
        source = {**reader["source"], "epochs": reader["epochs"]}
    model = build(start.arch, len(start.classes), (bundle.width, bundle.height))
    start_from(model, start.arch, start.classes, start)
    made_with = {**source, "preprocessing": bundle.manifest["preprocessing"]}
    checkpoint = Checkpoint(
        model.eval(), start.arch, start.classes, (bundle.width, bundle.height), source["epochs"], made_with
    )
    return checkpoint, {**start.provenance, "arch": start.arch, "epochs": source["epochs"], "source": source}


def _check(first_path: Path, first: Checkpoint, second_file: Path, second: Checkpoint) -> None:
    for path, reader, arch in ((first_path, first, FIRST_ARCH), (second_file, second, SECOND_ARCH)):
        if reader.arch != arch:
            raise DataError(f"{path} is {reader.arch}: the first reader is {FIRST_ARCH}, the second {SECOND_ARCH}")
    if first.classes != second.classes:
        raise DataError(f"{second_file} knows other classes ({', '.join(second.classes)}) than {first_path}")
    for name in ("split_sha256", "data_sha256", "preprocessing"):
        if first.provenance[name] != second.provenance[name]:
            raise DataError(
                f"{second_file} was not trained on the images and the split of {first_path}: train it on them"
            )
    width, height = (side // 2 for side in first.image_size)
    if second.image_size != (width, height):
        raise DataError(f"{second_file} is not for images of {width}x{height}, half of what {first_path} is for")
    if any(-(-side // STRIDE) != 2 * -(-(side // 2) // STRIDE) for side in first.image_size):
        raise DataError(f"the readers' maps do not fit each other at the size of {first_path}: train it at 360x363")
