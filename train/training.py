"""Training of one model: schedule, resumable checkpoints, and the files of a run folder."""

import ctypes
import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import ModelCheckpoint

from ..calibration.metrics import CONFUSION, METRICS, classification_metrics
from ..calibration.plots import draw_confusion
from ..calibration.split import check_split, read_split
from ..runtime.bundle.manifest import Metrics
from ..runtime.bundle.provenance import Origin, Preprocessing, Provenance, Stage, epochs_of
from ..runtime.errors import DataError
from ..runtime.images.resize import PREPROCESSING
from .box_classifier import BoxClassifier, mean_overlap
from .callbacks import EpochBar, History, StageAveraging, has_bar
from .checkpoint import load_checkpoint, predict
from .classifier import Classifier
from .freeze import NONE
from .images import load_images
from .loaders import CellData
from .models.efficientnet import EFFICIENTNETS
from .models.marzahl import MARZAHL
from .plots import draw_curves
from .progress import reading, say, silence
from .start import Start, check_start, imagenet_start, read_start, start_from

RUN, LAST = "run.json", "last.ckpt"
INITIAL_FILES = (RUN, "split.csv", "history.csv")  # of a run folder before its first checkpoint


class FitMetrics(Metrics, frozen=True, kw_only=True):
    """Metrics of the part `select`, and how the split was made.

    Attributes:
        part: `select`.
        unit: How the split was made.
        iou: Mean intersection over union of the cells' boxes; None of a model that finds none.
    """

    part: str
    unit: str
    iou: float | None = None


@dataclass(frozen=True)
class TrainingSettings:
    """How one model is trained.

    Attributes:
        stages: Image sizes and epochs; the last size is the one that the model is for.
        arch: One of `MODELS` of `cartcls.train.models.build`.
        batch_size: Images per step.
        seed: Random seed of weights, order and augmentation.
        start: Bundle folder or checkpoint to start from; its head is used where the classes are the same. The learning
            rate then rises from the first stage to the head.
        freeze: What stays fixed, with its batch statistics: `none` (of an EfficientNet its own first stages), `all` but
            the head, or the stages up to and including this one; see `cartcls.train.freeze`.
        compile: Whether to compile the training step for each image size: minutes at first, then faster.
        boxes: Boxes of the cells, as `cartcls train boxes` writes them; for `marzahl` alone, which needs them.
    """

    stages: Sequence[Stage]
    arch: str = "rcmnet"
    batch_size: int = 32
    seed: int = 0
    start: Path | None = None
    freeze: str = NONE
    compile: bool = False
    boxes: Path | None = None


def fit(
    data_dir: Path,
    split_file: Path,
    out: Path,
    settings: TrainingSettings,
    resume: bool = False,
    devices: int | str = "auto",
    num_nodes: int = 1,
) -> FitMetrics | None:
    """Train a model on `fit`, choose its best checkpoint on `select`, and write a run folder.

    Args:
        data_dir: Folder with one folder per class.
        split_file: Split file of it.
        out: Run folder; must be new or empty unless `resume`.
        settings: How it is trained.
        resume: Whether to continue from `out/last.ckpt`, with the same settings.
        devices: Devices per machine, as Lightning's Trainer takes them.
        num_nodes: Number of machines.

    Returns:
        The metrics of `select`, as written to `metrics.json`.

    Raises:
        DataError: The folder, the split, the boxes, an image, the start or the run folder cannot be used.
        KeyboardInterrupt: It was interrupted; `resume` goes on after its last whole epoch.
    """
    if settings.start:
        check_start(settings.start)
    split = read_split(split_file)
    check_split(split, data_dir)
    data = CellData(data_dir, split, settings.stages, settings.batch_size, settings.seed, settings.boxes)
    _open_run(out, resume)
    others = {}
    for part in ("calibrate", "report"):  # read now, so that broken images are found before the training
        paths, size = split.paths(part), (32, 32)
        others[part] = load_images(data_dir, paths, data.classes, size, reading(part, len(paths), size)).sha256
    return train(data, split_file, out, settings, others, resume, devices, num_nodes)


def train(
    data: CellData,
    split_file: Path,
    out: Path,
    settings: TrainingSettings,
    others: Mapping[str, str],
    resume: bool = False,
    devices: int | str = "auto",
    num_nodes: int = 1,
) -> FitMetrics | None:
    """Train on data whose part `fit` alone needs to be there; see `fit`.

    Without the part `select` nothing is chosen: the model is `last.ckpt`, with the averaged weights of the last epoch.

    Args:
        data: Those parts, with the stages, batch size and seed of `settings`.
        split_file: Split file of the data.
        out: Run folder.
        settings: How it is trained.
        others: Digests of the parts `calibrate` and `report`, for the provenance.
        resume: Whether to continue.
        devices: Devices per machine.
        num_nodes: Number of machines.

    Returns:
        The metrics of `select`, where there is one.
    """
    if settings.arch == MARZAHL and not data.boxes_file:
        raise DataError(f"{MARZAHL} is trained on boxes: make them with `cartcls train boxes`")
    silence()
    _keep_memory()
    _open_run(out, resume)
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    started = _start(settings)
    provenance = _provenance(data, split_file, settings, others, started.origin if started else None)
    _write_run(out, resume, provenance, split_file)
    kind = BoxClassifier if settings.arch == MARZAHL else Classifier
    classifier = kind(data.classes, settings.stages[-1].size, provenance, settings.compile)
    if started:
        start_from(classifier.model, settings.arch, data.classes, started)
    chooses = bool(data.split.paths("select"))
    trainer = _trainer(out, sum(stage.epochs for stage in settings.stages), devices, num_nodes, chooses)
    compiled = "; each size is compiled first, which takes a minute or two" if settings.compile else ""
    device = f"{trainer.strategy.root_device} ({trainer.precision})"
    say(f"training {settings.arch} on {device}: epochs {epochs_of(settings.stages)}{compiled}; Ctrl-C stops it")
    try:
        trainer.fit(classifier, data, ckpt_path=out / LAST if resume else None, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    if not trainer.is_global_zero:
        return None
    draw_curves(out / "history.csv", out / "curves.png")
    return _finish(out, data) if chooses else None


def _start(settings: TrainingSettings) -> Start | None:
    if settings.start:
        return read_start(settings.start, settings.arch)
    return imagenet_start(settings.arch) if settings.arch in EFFICIENTNETS else None


def _trainer(out: Path, epochs: int, devices: int | str, num_nodes: int, chooses: bool) -> pl.Trainer:
    """Lightning's trainer, with `best.ckpt` where an epoch is chosen on `select`."""
    best = ModelCheckpoint(out, "best", monitor="select_score", mode="max", enable_version_counter=False)
    latest = ModelCheckpoint(out, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    bar = [EpochBar()] if has_bar() else []
    return pl.Trainer(
        devices=devices,
        num_nodes=num_nodes,
        precision="bf16-mixed" if _bfloat16_is_fast() else "32-true",
        max_epochs=epochs,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        limit_val_batches=None if chooses else 0,
        gradient_clip_val=5.0,
        callbacks=[StageAveraging(), History(out / "history.csv"), *([best] if chooses else []), latest, *bar],
        logger=False,
        enable_progress_bar=bool(bar),
        enable_model_summary=False,
    )


def _finish(out: Path, data: CellData) -> FitMetrics:
    say("classifying `select` with the best checkpoint")
    best = load_checkpoint(out / "best.ckpt")
    select = data.images("select", data.stages[-1].size)
    figures = classification_metrics(select.labels, predict(best.model, select.images), data.classes)
    marks = {"part": "select", "unit": data.split.unit}
    metrics = {**marks, **msgspec.to_builtins(figures)}
    true = data.true_boxes(select)
    iou = None if true is None else mean_overlap(best.model, select.images, true)
    metrics.update({} if iou is None else {"iou": iou})
    (out / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    confusion = draw_confusion(figures.confusion, data.classes, f"select, {data.split.unit}")
    (out / CONFUSION).write_bytes(confusion)
    return FitMetrics(**marks, iou=iou, **msgspec.structs.asdict(figures))


def _provenance(
    data: CellData, split_file: Path, settings: TrainingSettings, others: Mapping[str, str], start: Origin | None
) -> Provenance:
    parts = [part for part in ("fit", "select") if data.split.paths(part)]
    digests = {part: data.images(part, data.stages[0].size).sha256 for part in parts} | dict(others)
    arguments = sys.argv[2:] if sys.argv[1:2] == ["train"] else sys.argv[1:]  # also of `python -m cartcls.train`
    packages = ("cartcls", "torch", "pytorch-lightning", "numpy", "opencv-python-headless", "pillow")
    return Provenance(
        arch=settings.arch,
        data_dir=str(data.data_dir.resolve()),
        data_sha256=digests,
        split_file=split_file.name,
        split_sha256=data.split.sha256,
        split_unit=data.split.unit,
        preprocessing=Preprocessing(PREPROCESSING),
        stages=tuple(data.stages),
        batch_size=data.batch_size,
        seed=data.seed,
        versions={"python": platform.python_version(), **{name: version(name) for name in packages}},
        start=start,
        boxes_sha256=hashlib.sha256(data.boxes_file.read_bytes()).hexdigest() if data.boxes_file else "",
        freeze="" if settings.freeze == NONE else settings.freeze,
        command=f"cartcls train {shlex.join(arguments)}",
    )


@rank_zero_only  # other processes find the folder that the first one made
def _open_run(out: Path, resume: bool) -> None:
    if resume and not (out / LAST).exists():
        raise DataError(f"{out / LAST} does not exist: there is nothing to resume; leave out --resume")
    if not resume and out.exists() and not {path.name for path in out.iterdir()} <= {*INITIAL_FILES}:
        raise DataError(f"{out} is not empty: add --resume to continue it, or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        (out / INITIAL_FILES[-1]).unlink(missing_ok=True)  # the other files are written anew


@rank_zero_only
def _write_run(out: Path, resume: bool, run: Provenance, split_file: Path) -> None:
    if resume:
        before = read_run(out)
        fixed = (
            "arch",
            "batch_size",
            "stages",
            "seed",
            "split_sha256",
            "data_sha256",
            "boxes_sha256",
            "start",
            "freeze",
        )
        if changed := [name for name in fixed if getattr(before, name) != getattr(run, name)]:
            raise DataError(
                f"{out} was started with other settings ({', '.join(changed)}): give the same, or a new folder"
            )
        return
    (out / RUN).write_text(json.dumps(run.plain(), indent=2) + "\n", encoding="utf-8")
    (out / "split.csv").write_bytes(split_file.read_bytes())


def read_run(out: Path) -> Provenance:
    """Read the `run.json` of a run folder."""
    return msgspec.json.decode((out / RUN).read_bytes(), type=Provenance)


def _keep_memory() -> None:
    """Have the C library keep freed memory: on a CPU, requesting it again takes a third of every step."""
    if platform.libc_ver()[0] == "glibc" and not torch.cuda.is_available():
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**30)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            mallopt(parameter, value)


def _bfloat16_is_fast() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()
