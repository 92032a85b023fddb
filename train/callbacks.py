"""Callbacks of a training: averaged weights, and a row for each epoch."""

import csv
import sys
import time
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar, WeightAveraging
from torch import Tensor

from .loaders import CellData
from .progress import Pace, say

EMA_DECAY = 0.995
FIGURES = ("loss", "select_loss", "select_top1", "select_iou")  # of an epoch; a training on all cells has no `select`


class StageAveraging(WeightAveraging):
    """Exponential average of weights and batch statistics, restarted at each image size.

    Statistics of another size would spoil it: a model of 98 % accuracy then has 90 % when averaged.
    """

    def __init__(self):
        super().__init__(avg_fn=exponential_average)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset the average when a stage starts."""
        data: CellData = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        epoch = trainer.current_epoch
        if self._average_model is not None and epoch and data.stage_index(epoch) != data.stage_index(epoch - 1):
            self._average_model.n_averaged.zero_()  # the next update copies


class History(pl.Callback):
    """Appends one row per epoch to `history.csv`, and prints it, and the steps, if no progress bar is shown."""

    def __init__(self, file: Path):
        self.file = file
        self._started = time.monotonic()
        self._pace = Pace()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Say which step is done."""
        self._say(trainer, f"step {batch_idx + 1} of {trainer.num_training_batches}")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Say how much of `select` is done."""
        self._say(trainer, f"select, step {batch_idx + 1} of {trainer.num_val_batches[0]}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the epoch's row."""
        if not trainer.is_global_zero:
            return
        data: CellData = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        width, height = data.stages[data.stage_index(trainer.current_epoch)].size
        metrics = trainer.callback_metrics
        row: dict[str, object] = {
            "epoch": trainer.current_epoch + 1,
            "size": f"{width}x{height}",
            **{name: f"{float(metrics[name]):.5f}" for name in FIGURES if name in metrics},
            "rate": f"{trainer.optimizers[0].param_groups[0]['lr']:.3g}",
            "seconds": f"{time.monotonic() - self._started:.1f}",
        }
        new = not self.file.exists()
        with self.file.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(row)
            writer.writerow(row.values())
        if not has_bar():
            say("  ".join(f"{name} {value}" for name, value in {**row, "epoch": _epoch(trainer)}.items()))

    def _say(self, trainer: pl.Trainer, line: str) -> None:
        if not has_bar():
            self._pace(f"epoch {_epoch(trainer)}: {line}")


class EpochBar(RichProgressBar):
    """Lightning's progress bar, with epochs counted from 1, as the lines and `history.csv` do."""

    def __init__(self):
        super().__init__(console_kwargs={"stderr": True})

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {_epoch(self.trainer)}"


def has_bar() -> bool:
    """Whether a progress bar is shown, and not lines."""
    return sys.stderr.isatty()


def _epoch(trainer: pl.Trainer) -> str:
    return f"{trainer.current_epoch + 1} of {trainer.max_epochs}"


def exponential_average(average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    """Average of the weights so far; its decay grows with the steps, so that the first weights soon count little."""
    decay = min(EMA_DECAY, (1 + int(steps)) / (10 + int(steps)))
    return average * decay + current * (1 - decay)
