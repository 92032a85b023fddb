"""One model of trained ones: RCMNet and networks that saw the same images and the same split."""

from pathlib import Path
from typing import Any, cast

import torch

from ..runtime.bundle.bundle import load_bundle
from ..runtime.errors import DataError
from .checkpoint import Checkpoint, load_checkpoint
from .models.base import STRIDE, MapClassifier
from .models.build import build
from .models.efficientnet import EFFICIENTNETS
from .models.ensemble import PLUS, Ensemble
from .start import checkpoint_provenance, read_start, start_from

FIRST_ARCH = "rcmnet"
OF_DATA = ("data_dir", "data_sha256", "split_file", "split_sha256", "split_unit", "preprocessing")  # in a provenance


def join(first_path: Path, other_files: list[Path], out: Path) -> Path:
    """Make an ensemble of trained models.

    Args:
        first_path: Checkpoint or bundle folder of RCMNet. Of a bundle of an ensemble the first member is taken, with
            the mean of all biases, for no other is left in it.
        other_files: Checkpoints of `EFFICIENTNETS` of `cartcls.train.models.efficientnet` in their run folders, one of
            each at most, of the same images and split, for half the width and height.
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
    members = [provenance, *map(checkpoint_provenance, other_files, others)]
    settings = {
        "arch": PLUS.join(member.arch for member in (first, *others)),
        "classes": first.classes,
        "image_size": first.image_size,
        "provenance": {**{name: others[0].provenance[name] for name in OF_DATA}, "readers": members},
    }
    model = Ensemble([cast(MapClassifier, member.model) for member in (first, *others)])
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    out.mkdir(parents=True)
    (out / split.name).write_bytes(split.read_bytes())
    checkpoint = out / "best.ckpt"
    torch.save({"state_dict": weights, "hyper_parameters": settings, "epoch": first.epochs - 1}, checkpoint)
    return checkpoint


def _read(path: Path) -> tuple[Checkpoint, dict[str, Any]]:
    """The first member, and where it comes from."""
    if not path.is_dir():
        checkpoint = load_checkpoint(path)
        return checkpoint, checkpoint_provenance(path, checkpoint)
    bundle, start = load_bundle(path), read_start(path)
    source = bundle.manifest["source"]
    if "readers" in source:
        member = source["readers"][0]
        source = {**member["source"], "epochs": member["epochs"]}
    model = build(start.arch, len(start.classes), (bundle.width, bundle.height))
    start_from(model, start.arch, start.classes, start)
    made_with = {**source, "preprocessing": bundle.manifest["preprocessing"]}
    checkpoint = Checkpoint(
        model.eval(), start.arch, start.classes, (bundle.width, bundle.height), source["epochs"], made_with
    )
    return checkpoint, {**start.provenance, "arch": start.arch, "epochs": source["epochs"], "source": source}


def _check_first(first_path: Path, first: Checkpoint) -> None:
    if first.arch != FIRST_ARCH:
        raise DataError(f"{first_path} is {first.arch}: the first member is {FIRST_ARCH}")
    if any(-(-side // STRIDE) != 2 * -(-(side // 2) // STRIDE) for side in first.image_size):
        raise DataError(f"the members' maps do not fit each other at the size of {first_path}: train it at 360x363")


def _check_other(first_path: Path, first: Checkpoint, other_file: Path, other: Checkpoint) -> None:
    if other.arch not in EFFICIENTNETS:
        raise DataError(f"{other_file} is {other.arch}: the other members are {' or '.join(EFFICIENTNETS)}")
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
