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

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar

from ..calibration.metrics import classification_metrics
from ..calibration.pictures import draw_confusion
from ..calibration.split import Split, check_split, read_split
from ..runtime.errors import DataError
from ..runtime.images import resize as preprocess
from .callbacks import History, StageAveraging
from .checkpoint import load_checkpoint, predict
from .classifier import Classifier
from .images import load_images
from .loaders import CellData, Stage
from .models.efficientnet import EFFICIENTNETS
from .plots import draw_curves
from .start import imagenet_start, read_start, start_from

BEGUN = ("run.json", "split.csv", "history.csv")  # what a run folder holds before its first checkpoint


def fit(
    data_dir: Path,
    split_file: Path,
    arch: str,
    out: Path,
    stages: Sequence[Stage],
    batch_size: int,
    seed: int,
    start: Path | None = None,
    resume: bool = False,
    compile: bool = False,
    devices: int | str = "auto",
    num_nodes: int = 1,
) -> dict[str, Any]:
    """Train a model on `fit`, choose its best checkpoint on `select`, and fill a run folder.

    Args:
        data_dir: Folder with one folder per class.
        split_file: Split that fits it.
        arch: One of `MODELS` of `cartcls.train.models.build`.
        out: Run folder; must be new or empty unless `resume`.
        stages: Image sizes and epochs; the last size is the one that the model is for.
        batch_size: Images per step.
        seed: Of weights, order and augmentation.
        start: Bundle folder or checkpoint whose weights to start from; its head is used where the classes are the same.
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
    started = read_start(start, arch) if start else imagenet_start(arch) if arch in EFFICIENTNETS else None
    provenance = {
        **_provenance(data, split_file),
        "start": started.provenance if started else None,
    }
    _write_run(out, resume, {"arch": arch, **provenance}, split_file)
    classifier = Classifier(arch, data.classes, stages[-1].size, provenance, compile)
    if started:
        start_from(classifier.model, arch, data.classes, started)
    trainer = _trainer(out, sum(stage.epochs for stage in stages), devices, num_nodes)
    trainer.fit(classifier, data, ckpt_path=last if resume else None, weights_only=True)
    if not trainer.is_global_zero:
        return {}
    return _finish(out, data, split)


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
    metrics = classification_metrics(select.labels, predict(best.model, select.images), data.classes)
    metrics = {"part": "select", "unit": split.unit, **metrics}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    draw_confusion(metrics["confusion"], data.classes, f"select, {split.unit}", out / "confusion.png")
    draw_curves(out / "history.csv", out / "curves.png")
    return metrics


def _provenance(data: CellData, split_file: Path) -> dict[str, Any]:
    digests = {part: data.images(part, data.stages[0].size).sha256 for part in ("fit", "select")}
    for part in ("calibrate", "report"):  # read now, so that what is broken is known before the training
        digests[part] = load_images(data.data_dir, data.split.paths(part), data.classes, (32, 32)).sha256
    arguments = sys.argv[2:] if sys.argv[1:2] == ["train"] else sys.argv[1:]  # also of `python -m cartcls.train`
    packages = ("cartcls", "torch", "pytorch-lightning", "numpy", "opencv-python-headless", "pillow")
    return {
        "command": f"cartcls train {shlex.join(arguments)}",
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
        fixed = ("arch", "batch_size", "stages", "seed", "split_sha256", "data_sha256", "start")
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
