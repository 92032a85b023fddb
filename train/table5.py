"""The paper's Table 5 on your own split: every model trained with the same schedule."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
import torch
from torch.utils.flop_counter import FlopCounterMode

from ..calibration.metrics import METRICS
from ..calibration.split import read_split
from ..runtime.bundle.provenance import Stage
from ..runtime.errors import DataError
from ..runtime.statistics import wilson_interval
from . import training
from .checkpoint import load_checkpoint
from .models.base import FeatureClassifier
from .models.baselines import BASELINES
from .models.rcmnet import ARCHITECTURES
from .training import FitMetrics, TrainingSettings

ARCHS = (*ARCHITECTURES, *BASELINES)
PAPER = {"rcmnet": "99.63 %"}
PAPER_OTHERS = "99.18 to 99.58 %"


@dataclass(frozen=True)
class Row:
    """One model of the table.

    Attributes:
        arch: Its name.
        paper: Top-1 that the paper reports on its own test images.
        correct: Right answers on `select` of each seed's model.
        count: Number of cells in `select`.
        unit: `split by image` or `split by group`.
        parameters: Number of trained weights.
        multiply_adds: Multiplications with addition for one image.
    """

    arch: str
    paper: str
    correct: list[int]
    count: int
    unit: str
    parameters: int
    multiply_adds: int

    @property
    def top1(self) -> float:
        """Mean over the seeds."""
        return sum(self.correct) / len(self.correct) / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the mean, for this many cells."""
        return wilson_interval(round(self.top1 * self.count), self.count)


def train_table(
    data_dir: Path, split_file: Path, out: Path, settings: TrainingSettings, seeds: Sequence[int]
) -> list[Row]:
    """Train every model with every seed, and write `table5.csv` and `table5.md` after each.

    Args:
        data_dir: Folder with one folder per class.
        split_file: Split file of it.
        out: Folder for the run folders and the table. Finished runs there are kept, interrupted ones continue.
        settings: How each is trained, except its architecture and seed.
        seeds: One training of each model per seed.

    Raises:
        DataError: The data cannot be used, or `out` was started with other settings.
    """
    rows = []
    for arch in ARCHS:
        runs = {seed: out / f"{arch}-{seed}" for seed in seeds}
        finished = [
            _train(data_dir, split_file, run, replace(settings, arch=arch, seed=seed)) for seed, run in runs.items()
        ]
        rows.append(_row(arch, finished, runs[seeds[0]] / "best.ckpt"))
        _write(rows, out, settings.stages)
    return rows


def _train(data_dir: Path, split_file: Path, run: Path, settings: TrainingSettings) -> FitMetrics:
    metrics = run / METRICS
    if not metrics.exists():
        training.fit(data_dir, split_file, run, settings, resume=(run / training.LAST).exists())
    before = training.read_run(run)
    wanted = {
        "stages": (before.stages, tuple(settings.stages)),
        "batch_size": (before.batch_size, settings.batch_size),
        "split_sha256": (before.split_sha256, read_split(split_file).sha256),
    }
    if changed := [name for name, (old, new) in wanted.items() if old != new]:
        raise DataError(f"{run} was trained with other settings ({', '.join(changed)}): choose another --out")
    return msgspec.json.decode(metrics.read_bytes(), type=FitMetrics)


def _row(arch: str, finished: Sequence[FitMetrics], checkpoint: Path) -> Row:
    trained = load_checkpoint(checkpoint)
    return Row(
        arch,
        PAPER.get(arch, PAPER_OTHERS),
        [metrics.correct for metrics in finished],
        finished[0].count,
        finished[0].unit,
        sum(parameter.numel() for parameter in trained.model.parameters()),
        multiply_adds(trained.model, trained.image_size),
    )


def multiply_adds(model: FeatureClassifier, image_size: tuple[int, int]) -> int:
    """Multiplications with addition in convolutions and matrix products, for one image of this width and height."""
    width, height = image_size
    with FlopCounterMode(display=False) as operations, torch.no_grad():
        model(torch.zeros(1, 3, height, width))
    return operations.get_total_flops() // 2


def _write(rows: Sequence[Row], out: Path, stages: Sequence[Stage]) -> None:
    with (out / "table5.csv").open("w", newline="", encoding="utf-8") as file:
        names = [*asdict(rows[0]), "top1", "low", "high"]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            low, high = row.interval
            correct = " ".join(map(str, row.correct))
            writer.writerow({**asdict(row), "correct": correct, "top1": row.top1, "low": low, "high": high})
    schedule = ", ".join(f"{stage.epochs} at {stage.size[0]}x{stage.size[1]}" for stage in stages)
    lines = [
        f"Epochs: {schedule}. Ours: top-1 on the {rows[0].count} cells of `select` ({rows[0].unit}), on which the best"
        " epoch was chosen. The paper's: on its own test images, split by image.",
        "",
        "| model | paper | ours | 95 % interval | right, by seed | parameters | multiply–adds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row.interval
        correct = ", ".join(map(str, row.correct))
        lines.append(
            f"| {row.arch} | {row.paper} | {row.top1:.2%} | {low:.2%} to {high:.2%} | {correct}"
            f" | {row.parameters / 1e6:.2f} M | {row.multiply_adds / 1e9:.2f} G |"
        )
    (out / "table5.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
