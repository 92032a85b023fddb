"""An ensemble of trained models: RCMNet and networks trained on the same images and the same split."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from msgspec.structs import replace

from ..runtime.bundle.bundle import load_bundle
from ..runtime.bundle.provenance import Origin, Provenance
from ..runtime.errors import DataError
from .checkpoint import Checkpoint, hyper_parameters, load_checkpoint
from .models.base import NetworkWithMap
from .models.build import build
from .models.efficientnet import EFFICIENTNETS
from .models.ensemble import PLUS, Ensemble, first_size
from .start import checkpoint_origin, read_start, start_from

FIRST_ARCH = "rcmnet"


def join(first_path: Path, other_files: list[Path], out: Path) -> Path:
    """Make an ensemble of trained models.

    Args:
        first_path: Checkpoint or bundle folder of RCMNet. Of a bundle of an ensemble the first member is taken, with
            the mean of all biases, because the bundle has no other.
        other_files: Checkpoints of `EFFICIENTNETS` of `cartcls.train.models.efficientnet` in their run folders, one of
            each at most, of the same images and split, for half the width and height.
        out: Run folder to make.

    Returns:
        The checkpoint in it.

    Raises:
        DataError: They do not match each other, or `out` exists.
        BundleError: The bundle cannot be used.
    """
    first, origin = _read(first_path)
    others = [load_checkpoint(file) for file in other_files]
    _check_first(first_path, first)
    for file, other in zip(other_files, others, strict=True):
        _check_other(first_path, first, file, other)
    if len({other.arch for other in others}) < len(others):
        raise DataError(f"two of {', '.join(map(str, other_files))} have the same --arch: name one of each")
    split = other_files[0].parent / "split.csv"
    if not split.exists():
        raise DataError(f"{split} does not exist: name a checkpoint in its run folder")
    if out.exists():
        raise DataError(f"{out} exists already: choose another --out")
    origins = (origin, *map(checkpoint_origin, other_files, others))
    out.mkdir(parents=True)
    (out / split.name).write_bytes(split.read_bytes())
    checkpoint = out / "best.ckpt"
    torch.save(_joined([first, *others], origins), checkpoint)
    return checkpoint


def _joined(members: Sequence[Checkpoint], origins: tuple[Origin, ...]) -> dict[str, object]:
    """A checkpoint of the ensemble, with the heads of its members joined to one."""
    arch = PLUS.join(member.arch for member in members)
    first, data = members[0], members[1].provenance
    provenance = Provenance(
        arch=arch,
        data_dir=data.data_dir,
        data_sha256=data.data_sha256,
        split_file=data.split_file,
        split_sha256=data.split_sha256,
        split_unit=data.split_unit,
        preprocessing=data.preprocessing,
        members=origins,
    )
    weights = Ensemble([cast(NetworkWithMap, member.model) for member in members]).state_dict()
    return {
        "state_dict": {f"model.{name}": value for name, value in weights.items()},
        "hyper_parameters": hyper_parameters(arch, first.classes, first.image_size, provenance),
        "epoch": first.epochs - 1,
    }


def _read(path: Path) -> tuple[Checkpoint, Origin]:
    """The first member, and where it comes from."""
    if not path.is_dir():
        checkpoint = load_checkpoint(path)
        return checkpoint, checkpoint_origin(path, checkpoint)
    bundle, start = load_bundle(path), read_start(path)
    record = bundle.manifest.source
    if record.members:
        record = replace(record.members[0].provenance, epochs=record.members[0].epochs)
    size = bundle.width, bundle.height
    model = build(start.arch, len(start.classes), first_size(size) if bundle.manifest.source.members else size)
    start_from(model, start.arch, start.classes, start)
    made_with = replace(record, preprocessing=bundle.manifest.preprocessing)
    checkpoint = Checkpoint(model.eval(), start.arch, start.classes, size, record.epochs, made_with)
    return checkpoint, replace(start.origin, arch=start.arch, epochs=record.epochs, source=record.plain())


def _check_first(first_path: Path, first: Checkpoint) -> None:
    if first.arch != FIRST_ARCH:
        raise DataError(f"{first_path} is {first.arch}: the first member is {FIRST_ARCH}")


def _check_other(first_path: Path, first: Checkpoint, other_file: Path, other: Checkpoint) -> None:
    if other.arch not in EFFICIENTNETS:
        raise DataError(f"{other_file} is {other.arch}: the other members are {' or '.join(EFFICIENTNETS)}")
    if first.classes != other.classes:
        raise DataError(f"{other_file} has other classes ({', '.join(other.classes)}) than {first_path}")
    for name in ("split_sha256", "data_sha256", "preprocessing"):
        if getattr(first.provenance, name) != getattr(other.provenance, name):
            raise DataError(
                f"{other_file} was not trained on the images and the split of {first_path}: train it on them"
            )
    width, height = (side // 2 for side in first.image_size)
    if other.image_size != (width, height):
        found, half_of = ("{}x{}".format(*trained.image_size) for trained in (other, first))
        raise DataError(
            f"{other_file} was last trained at {found}, not at {width}x{height}, half of the {half_of} of {first_path}:"
            " finish the runs with --resume, or train at these sizes"
        )
