"""RCMNet with further readers: other networks look at each cell too, and the answer is the mean of all.

Readers that learned from other pictures first (ImageNet) make other mistakes. At half the image's width
EfficientNet-Lite0 adds a twentieth to RCMNet's multiplications, EfficientNet-Lite2 a twelfth.
"""

from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...runtime.bundle.bundle import load_bundle
from ...runtime.errors import DataError
from ..checkpoint import Checkpoint, load_checkpoint
from ..start import HEAD, checkpoint_provenance, read_start, start_from
from .rcmnet import PLUS, STRIDE, TEACHERS, MapClassifier, build

FIRST_ARCH = "rcmnet"
OF_DATA = ("data_dir", "data_sha256", "split_file", "split_sha256", "split_unit", "preprocessing")  # in a provenance


class Readers(MapClassifier):
    """RCMNet at full size and others at half.

    The mean of linear heads is one linear head on all feature maps, one behind the other; so heat maps are exact here
    as well, and show what all of them looked at.
    """

    def __init__(self, arch: str, num_classes: int, image_size: tuple[int, int]):
        """Build the networks.

        Args:
            arch: `rcmnet` and some of `TEACHERS` of `cartcls.train.models.rcmnet`, with `+` between them.
            num_classes: Number of logits K.
            image_size: Width and height in pixels that the first reader is for.
        """
        super().__init__()
        self.readers: Any = nn.ModuleList(build(name, num_classes, image_size) for name in arch.split(PLUS))
        widths = [reader.fc.in_features for reader in self.readers]
        self.channels = widths[0]
        self.fc = nn.Linear(sum(widths), num_classes)
        for reader in self.readers:
            del reader.fc

    def feature_map(self, x: Tensor) -> Tensor:
        """All last feature maps A (N, 512 + 1280 + …, h, w) of normalised images (N, 3, H, W)."""
        first, *others = self.readers
        half = F.avg_pool2d(x, 2)
        maps = torch.cat([reader.feature_map(half) for reader in others], 1)
        maps = F.interpolate(maps, scale_factor=2.0, mode="bilinear")  # which keeps the mean of a map
        return torch.cat([first.feature_map(x), maps], 1)

    def distance_features(self, features: Tensor) -> Tensor:
        """The first reader's features (N, 512)."""
        return features[:, : self.channels]


def join(first_path: Path, other_files: list[Path], out: Path) -> Path:
    """Make one model of trained ones.

    Args:
        first_path: Checkpoint or bundle folder of RCMNet. Of a bundle of several readers the first is taken, with the
            mean of their biases, for no other is left in it.
        other_files: Checkpoints of `TEACHERS` of `cartcls.train.models.rcmnet` in their run folders, one of each at
            most, of the same images and split, for half the width and height.
        out: Run folder to make.

    Returns:
        The checkpoint in it.

    Raises:
        DataError: They do not fit each other, or `out` exists.
        BundleError: The bundle cannot be used.
    """
    first, provenance = _read(first_path)
    others = [load_checkpoint(file) for file in other_files]
    _check_first(first_path, first)
    for file, other in zip(other_files, others, strict=True):
        _check_other(first_path, first, file, other)
    if len({other.arch for other in others}) < len(others):
        raise DataError(f"two of {', '.join(map(str, other_files))} are of one --arch: name one of each")
    split = other_files[0].parent / "split.csv"
    if not split.exists():
        raise DataError(f"{split} does not exist: name a checkpoint in its run folder")
    if out.exists():
        raise DataError(f"{out} exists already: choose another --out")
    arch = PLUS.join(reader.arch for reader in (first, *others))
    model = _mean_of([first, *others], arch)
    readers = [checkpoint_provenance(file, other) for file, other in zip(other_files, others, strict=True)]
    settings = {
        "arch": arch,
        "classes": first.classes,
        "image_size": first.image_size,
        "provenance": {**{name: others[0].provenance[name] for name in OF_DATA}, "readers": [provenance, *readers]},
    }
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    out.mkdir(parents=True)
    (out / split.name).write_bytes(split.read_bytes())
    checkpoint = out / "best.ckpt"
    torch.save({"state_dict": weights, "hyper_parameters": settings, "epoch": first.epochs - 1}, checkpoint)
    return checkpoint


def _mean_of(trained: list[Checkpoint], arch: str) -> Readers:
    model = Readers(arch, len(trained[0].classes), trained[0].image_size)
    for reader, own in zip(model.readers, trained, strict=True):
        weights = own.model.state_dict()
        reader.load_state_dict({name: value for name, value in weights.items() if not name.startswith(HEAD)})
    heads = [reader.model.fc for reader in trained]
    with torch.no_grad():
        model.fc.weight.copy_(torch.cat([head.weight for head in heads], 1) / len(heads))
        model.fc.bias.copy_(torch.stack([head.bias for head in heads]).mean(0))
    return model


def _read(path: Path) -> tuple[Checkpoint, dict[str, Any]]:
    """The first reader, and where it comes from."""
    if not path.is_dir():
        checkpoint = load_checkpoint(path)
        return checkpoint, checkpoint_provenance(path, checkpoint)
    bundle, start = load_bundle(path), read_start(path)
    source = bundle.manifest.provenance
    if "readers" in source:
        reader = source["readers"][0]
        source = {**reader["source"], "epochs": reader["epochs"]}
    model = build(start.arch, len(start.classes), (bundle.width, bundle.height))
    start_from(model, start.arch, start.classes, start)
    made_with = {**source, "preprocessing": msgspec.to_builtins(bundle.manifest.preprocessing)}
    checkpoint = Checkpoint(
        model.eval(), start.arch, start.classes, (bundle.width, bundle.height), source["epochs"], made_with
    )
    return checkpoint, {**start.provenance, "arch": start.arch, "epochs": source["epochs"], "source": source}


def _check_first(first_path: Path, first: Checkpoint) -> None:
    if first.arch != FIRST_ARCH:
        raise DataError(f"{first_path} is {first.arch}: the first reader is {FIRST_ARCH}")
    if any(-(-side // STRIDE) != 2 * -(-(side // 2) // STRIDE) for side in first.image_size):
        raise DataError(f"the readers' maps do not fit each other at the size of {first_path}: train it at 360x363")


def _check_other(first_path: Path, first: Checkpoint, other_file: Path, other: Checkpoint) -> None:
    if other.arch not in TEACHERS:
        raise DataError(f"{other_file} is {other.arch}: the other readers are {' or '.join(TEACHERS)}")
    if first.classes != other.classes:
        raise DataError(f"{other_file} knows other classes ({', '.join(other.classes)}) than {first_path}")
    for name in ("split_sha256", "data_sha256", "preprocessing"):
        if first.provenance[name] != other.provenance[name]:
            raise DataError(
                f"{other_file} was not trained on the images and the split of {first_path}: train it on them"
            )
    width, height = (side // 2 for side in first.image_size)
    if other.image_size != (width, height):
        raise DataError(f"{other_file} is not for images of {width}x{height}, half of what {first_path} is for")
