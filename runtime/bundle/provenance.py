"""Provenance of weights, as in `run.json`, a checkpoint and the `source` of `bundle.json`.

Fields that do not apply are empty, and not written.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import msgspec


class Stage(msgspec.Struct, frozen=True):
    """Some epochs of training at one image size.

    Attributes:
        size: Width and height in pixels.
        epochs: Number of epochs.
    """

    size: tuple[int, int]
    epochs: int


def epochs_of(stages: Sequence[Stage]) -> str:
    """Epochs and image sizes in words, as `12 at 128x128, 3 at 224x224`."""
    return ", ".join("{} at {}x{}".format(stage.epochs, *stage.size) for stage in stages)


def stage_index(stages: Sequence[Stage], epoch: int) -> int:
    """Index of the stage that an epoch belongs to, counted from 0; of the last one for any later epoch."""
    ends = list(accumulate(stage.epochs for stage in stages))
    return min(bisect_right(ends, epoch), len(stages) - 1)


class Preprocessing(msgspec.Struct, frozen=True):
    """The resizing of images to the network's input: its name, with its version."""

    name: str


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Trained weights that others were made from: a checkpoint, a bundle or a package.

    Attributes:
        checkpoint: Name of the checkpoint file.
        bundle: Name of the bundle.
        bundle_sha256: Digest of its `bundle.json`.
        package: Name of the Python package.
        version: Its version.
        sha256: Digest of its file of weights.
        arch: Architecture.
        epochs: Number of epochs that were trained.
        source: Their own provenance, as it was written then.
    """

    checkpoint: str = ""
    bundle: str = ""
    bundle_sha256: str = msgspec.field(default="", name="bundle.json")
    package: str = ""
    version: str = ""
    sha256: str = ""
    arch: str = ""
    epochs: int = 0
    source: dict[str, object] = {}

    @property
    def provenance(self) -> "Provenance":
        """`source` as a record; there must be one."""
        return msgspec.convert(self.source, Provenance)


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the weights of one model came from: a training, or trained members that were joined.

    Attributes:
        arch: Architecture.
        epochs: Number of epochs that were trained.
        parameters: Number of weights.
        data_dir: Folder of the images; not in a bundle.
        data_sha256: Digest of the images of each part of the split.
        split_file: Name of the split file.
        split_sha256: Its digest.
        split_unit: `split by image` or `split by group`.
        boxes_sha256: Digest of the file of the cells' boxes.
        preprocessing: How images were resized; a bundle has it elsewhere.
        stages: Image sizes and epochs.
        batch_size: Images per step.
        seed: Random seed of weights, order and augmentation.
        versions: Versions of Python and of packages at the training.
        start: The initial weights.
        freeze: What stayed fixed: `all` but the head, or the stages up to and including this one.
        members: The members of an ensemble.
        command: The command that was run.
        head: How the head was made, where not with the other weights.
        export_versions: Versions of packages at the export.
    """

    arch: str = ""
    epochs: int = 0
    parameters: int = 0
    data_dir: str = ""
    data_sha256: dict[str, str]
    split_file: str
    split_sha256: str
    split_unit: str
    boxes_sha256: str = ""
    preprocessing: Preprocessing | None = None
    stages: tuple[Stage, ...] = ()
    batch_size: int = 0
    seed: int | None = None
    versions: dict[str, str] = {}
    start: Origin | None = None
    freeze: str = ""
    members: tuple[Origin, ...] = msgspec.field(default=(), name="readers")
    command: str = ""
    head: str = ""
    export_versions: dict[str, str] = {}

    def plain(self) -> dict[str, object]:
        """As plain JSON values, for files that can be read without executing code in them."""
        return msgspec.json.decode(msgspec.json.encode(self))
