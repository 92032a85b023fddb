"""Provenance of a bundle's weights, without details of the machine that trained them."""

from importlib.metadata import version

from msgspec.structs import replace

from ..runtime.bundle.provenance import Origin, Provenance
from ..train.checkpoint import Checkpoint

TRAIN = "cartcls train"
BY_FIT = (TRAIN, "python -m cartcls.train")  # how the commands of `fit` begin, now and before
PACKAGES = ("onnx", "onnxruntime", "openvino", "torch")


def bundle_source(trained: Checkpoint) -> Provenance:
    """The `source` of a bundle of a checkpoint."""
    return replace(
        _portable(trained.provenance, trained.arch),
        arch=trained.arch,
        epochs=0 if trained.provenance.members else trained.epochs,
        parameters=sum(parameter.numel() for parameter in trained.model.parameters()),
        export_versions={package: version(package) for package in PACKAGES},
    )


def _portable(record: Provenance, arch: str) -> Provenance:
    return replace(
        record,
        data_dir="",
        preprocessing=None,
        start=_portable_origin(record.start) if record.start else None,
        members=tuple(map(_portable_origin, record.members)),
        command=_command(record, arch),
    )


def _portable_origin(origin: Origin) -> Origin:
    if not origin.source:
        return origin
    return replace(origin, source=_portable(origin.provenance, origin.arch).plain())


def _command(record: Provenance, arch: str) -> str:
    if record.members:
        return f"{TRAIN} join {' '.join(f'{member.arch}.ckpt' for member in record.members)} --out RUN_DIR"
    stages = ",".join("{}x{}".format(*stage.size) + f":{stage.epochs}" for stage in record.stages)
    command = f"{TRAIN} fit DATA_DIR --split {record.split_file}"
    command += " --boxes BOXES" if record.boxes_sha256 else ""
    if "select" not in record.data_sha256:  # the model on all cells
        command = f"{TRAIN} cross-validate DATA_DIR"
    command += f" --out RUN_DIR --arch {arch} --sizes {stages} --batch-size {record.batch_size}"
    if "select" in record.data_sha256:
        command += f" --seed {record.seed}"
    if not record.command.startswith(BY_FIT):  # see docs/results/training.md
        command = f"# by a script of this recipe: {command}"
    if (start := record.start) and not start.package:
        command += f" --start {start.bundle or start.checkpoint}"
    return f"{command} --freeze {record.freeze}" if record.freeze else command
