"""Training of one model: schedule, checkpoints that resume, and what a run folder holds."""

import ctypes
import json
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from ..calibration.metrics import classification_metrics
from ..calibration.pictures import draw_confusion
from ..calibration.split import Split, check_split, read_split
from ..runtime.errors import DataError
from ..runtime.images import resize as preprocess
from .augment import augment, mix
from .callbacks import History, StageAveraging
from .checkpoint import Checkpoint, load_checkpoint, predict
from .images import load_images
from .loaders import CellData, Stage
from .models.efficientnet import imagenet_start, read_teacher, teacher_loss
from .models.rcmnet import BASELINES, TEACHERS, build, normalize
from .plots import draw_curves
from .start import checkpoint_provenance, read_start, start_from

PEAK_RATE = 2e-3
START_PEAK_RATE = 1e-3  # for weights that are trained already
BASELINE_PEAK_RATE = 2e-4  # these have no batch norms to bear more
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05
BEGUN = ("run.json", "split.csv", "history.csv")  # what a run folder holds before its first checkpoint


class Classifier(pl.LightningModule):
    """A model in training. Takes uint8 images (B, H, W, 3) and int64 labels (B,)."""

    def __init__(
        self,
        arch: str,
        classes: list[str],
        image_size: tuple[int, int],
        provenance: dict[str, Any],
        compile: bool = False,
        teacher: Checkpoint | None = None,
    ):
        """Build the model.

        Args:
            arch: One of `ARCHITECTURES`, `BASELINES` or `TEACHERS` of `cartcls.train.models.rcmnet`.
            classes: Class names in order.
            image_size: Width and height in pixels of the images that the finished model is for.
            provenance: Data, split, start, command, versions and seed; goes into the checkpoint.
            compile: Whether training steps run compiled.
            teacher: Whose answers to learn, in place of the labels.
        """
        super().__init__()
        self.save_hyperparameters(ignore=["compile", "teacher"])
        self.model = build(arch, len(classes), image_size).to(memory_format=torch.channels_last)
        # A function, not a module: the state dict keeps its names. Each size is compiled anew, for fixed shapes.
        self._logits = torch.compile(self.model.forward, dynamic=False) if compile else self.model.forward
        self._teacher = teacher  # a dataclass, so that its weights are not counted among this module's
        self.loss = MeanMetric()
        self.select_loss = MeanMetric()
        self.select_top1 = MulticlassAccuracy(num_classes=len(classes), average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of uint8 images (B, H, W, 3)."""
        return self.model(normalize(images))

    def on_fit_start(self) -> None:
        """Take the teacher to where the images are."""
        if self._teacher:
            self._teacher.model.to(self.device).to(memory_format=torch.channels_last)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one augmented batch."""
        images, labels = batch
        images = normalize(augment(images)).contiguous(memory_format=torch.channels_last)
        if self._teacher:
            images = mix(images)
            loss = teacher_loss(self._logits(images), self._teacher, images)
        else:
            loss = F.cross_entropy(self._logits(images), labels, label_smoothing=LABEL_SMOOTHING)
        self.loss.update(loss.detach())
        self.log("loss", self.loss, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss and top-1 of one batch of `select`."""
        images, labels = batch
        logits = self(images)
        self.select_loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        self.select_top1.update(logits, labels)
        self.log("select_loss", self.select_loss, prog_bar=True)
        self.log("select_top1", self.select_top1, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        """Score the epoch, for the choice of `best.ckpt`."""
        data: CellData = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        stage, cells = data.stage_index(self.current_epoch), len(data.split.paths("select"))
        score = select_score(stage, float(self.select_top1.compute()), float(self.select_loss.compute()), cells)
        self.log("select_score", score)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, its rate rising and falling linearly; no decay for batch norms, biases and positions."""
        rate = BASELINE_PEAK_RATE if self.hparams["arch"] in BASELINES else PEAK_RATE
        rate = min(rate, START_PEAK_RATE) if self.hparams["provenance"]["start"] else rate
        decayed = [p for name, p in self.model.named_parameters() if p.ndim > 1 and ".rel_" not in name]
        others = [p for name, p in self.model.named_parameters() if p.ndim <= 1 or ".rel_" in name]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
            lr=rate,
        )
        steps = int(self.trainer.estimated_stepping_batches) + 1
        rise = max(0.1, 2 / steps)  # of at least one step: a rise of none would be divided by
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=steps, pct_start=rise, anneal_strategy="linear"
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(
    data_dir: Path,
    split_file: Path,
    arch: str,
    out: Path,
    stages: Sequence[Stage],
    batch_size: int,
    seed: int,
    start: Path | None = None,
    teacher: Path | None = None,
    resume: bool = False,
    compile: bool = False,
    devices: int | str = "auto",
    num_nodes: int = 1,
) -> dict[str, Any]:
    """Train a model on `fit`, choose its best checkpoint on `select`, and fill a run folder.

    Args:
        data_dir: Folder with one folder per class.
        split_file: Split that fits it.
        arch: One of `ARCHITECTURES`, `BASELINES` or `TEACHERS` of `cartcls.train.models.rcmnet`.
        out: Run folder; must be new or empty unless `resume`.
        stages: Image sizes and epochs; the last size is the one that the model is for.
        batch_size: Images per step.
        seed: Of weights, order and augmentation.
        start: Bundle folder or checkpoint whose weights to start from; its head is used where the classes are the same.
        teacher: Checkpoint of `fit` with the same classes, whose answers to learn in place of the labels.
        resume: Go on from `out/last.ckpt`, with the same settings.
        compile: Compile the training step for each image size: minutes at first, then faster.
        devices: Devices per machine, as Lightning's Trainer takes them.
        num_nodes: Number of machines.

    Returns:
        The metrics of `select`, as written to `metrics.json`.

    Raises:
        DataError: The folder, the split, an image, the start or the run folder does not fit.
    """
    _keep_memory()
    split = read_split(split_file)
    check_split(split, data_dir)
    last = out / "last.ckpt"
    _open_run(out, resume, last)
    pl.seed_everything(seed, workers=True, verbose=False)
    data = CellData(data_dir, split, stages, batch_size, seed)
    started = read_start(start, arch) if start else imagenet_start(arch) if arch in TEACHERS else None
    taught = read_teacher(teacher, data.classes) if teacher else None
    provenance = {
        **_provenance(data, split_file),
        "start": started.provenance if started else None,
        "teacher": checkpoint_provenance(teacher, taught) if teacher and taught else None,
    }
    _write_run(out, resume, {"arch": arch, **provenance}, split_file)
    classifier = Classifier(arch, data.classes, stages[-1].size, provenance, compile, taught)
    if started:
        start_from(classifier.model, arch, data.classes, started)
    trainer = _trainer(out, sum(stage.epochs for stage in stages), devices, num_nodes)
    trainer.fit(classifier, data, ckpt_path=last if resume else None, weights_only=True)
    if not trainer.is_global_zero:
        return {}
    return _finish(out, data, split)


def select_score(stage: int, top1: float, loss: float, cells: int) -> float:
    """How good an epoch is: a later stage wins, for that is the size that ships; then more right; then less loss.

    Args:
        stage: Its number.
        top1: Share of `select` that is right.
        loss: Mean cross-entropy there.
        cells: Number of cells there.
    """
    return stage + top1 - 0.5 / cells * (1 - 1 / (1 + loss))


def stage_settings(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """Stages as `run.json` holds them."""
    return [{"size": list(stage.size), "epochs": stage.epochs} for stage in stages]


def _trainer(out: Path, epochs: int, devices: int | str, num_nodes: int) -> pl.Trainer:
    best = ModelCheckpoint(out, "best", monitor="select_score", mode="max", enable_version_counter=False)
    latest = ModelCheckpoint(out, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    bar = RichProgressBar(console_kwargs={"stderr": True})
    return pl.Trainer(
        devices=devices,
        num_nodes=num_nodes,
        precision="bf16-mixed" if _bfloat16_is_fast() else "32-true",
        max_epochs=epochs,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        gradient_clip_val=5.0,
        callbacks=[StageAveraging(), History(out / "history.csv"), best, latest, bar],
        logger=False,
        enable_model_summary=False,
    )


def _finish(out: Path, data: CellData, split: Split) -> dict[str, Any]:
    best = load_checkpoint(out / "best.ckpt")
    select = data.images("select", data.stages[-1].size)
    figures = classification_metrics(select.labels, predict(best.model, select.images), data.classes)
    metrics = {"part": "select", "unit": split.unit, **msgspec.to_builtins(figures)}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    draw_confusion(figures.confusion, data.classes, f"select, {split.unit}", out / "confusion.png")
    draw_curves(out / "history.csv", out / "curves.png")
    return metrics


def _provenance(data: CellData, split_file: Path) -> dict[str, Any]:
    digests = {part: data.images(part, data.stages[0].size).sha256 for part in ("fit", "select")}
    for part in ("calibrate", "report"):  # read now, so that what is broken is known before the training
        digests[part] = load_images(data.data_dir, data.split.paths(part), data.classes, (32, 32)).sha256
    packages = ("cartcls", "torch", "pytorch-lightning", "numpy", "opencv-python-headless", "pillow")
    return {
        "command": f"python -m cartcls.train {shlex.join(sys.argv[1:])}",
        "data_dir": str(data.data_dir.resolve()),
        "data_sha256": digests,
        "split_file": split_file.name,
        "split_sha256": data.split.sha256,
        "split_unit": data.split.unit,
        "stages": stage_settings(data.stages),
        "preprocessing": {"name": preprocess.NAME, "sha256": preprocess.digest()},
        "batch_size": data.batch_size,
        "seed": data.seed,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


@rank_zero_only  # further processes find the folder that the first one made
def _open_run(out: Path, resume: bool, last: Path) -> None:
    if resume and not last.exists():
        raise DataError(f"{last} does not exist: there is nothing to resume; leave out --resume")
    if not resume and out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty: add --resume to go on with it, or choose another folder")
    out.mkdir(parents=True, exist_ok=True)


@rank_zero_only
def _write_run(out: Path, resume: bool, run: dict[str, Any], split_file: Path) -> None:
    file = out / "run.json"
    if resume:
        before = json.loads(file.read_text(encoding="utf-8"))
        fixed = ("arch", "batch_size", "stages", "seed", "split_sha256", "data_sha256", "start", "teacher")
        if changed := [name for name in fixed if before[name] != run[name]]:
            raise DataError(
                f"{out} was begun with other settings ({', '.join(changed)}): give the same, or a new folder"
            )
        return
    file.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
    (out / "split.csv").write_bytes(split_file.read_bytes())


def _keep_memory() -> None:
    """Have the C library keep freed memory: on a CPU, asking the system for it anew takes a third of every step."""
    if platform.libc_ver()[0] == "glibc" and not torch.cuda.is_available():
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**30)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            mallopt(parameter, value)


def _bfloat16_is_fast() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()
