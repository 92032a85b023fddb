"""Training of a network that tells the class and the cell's box (Marzahl et al. 2019)."""

from collections import defaultdict
from functools import partial
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric

from ..runtime.bundle.provenance import Provenance
from .augment import augment_with_boxes
from .classifier import Classifier, weight_decay
from .freeze import stages_above
from .models.base import normalize
from .models.marzahl import MARZAHL, Marzahl, intersection_over_union, marzahl_loss

HEADS_RATE = 1e-2  # of the first phase, of the heads alone
RATES = (2e-3, 2e-4, 2e-4, 2e-5, 2e-5, 2e-5)  # of the second, by the number of stages between a weight and the heads
RISE = 0.1  # share of a cycle in which the rate rises


class BoxClassifier(Classifier):
    """A model in training. Takes uint8 images (B, H, W, 3), int64 labels (B,) and boxes (B, 4).

    Where `--start` was given, the heads alone are trained for half of the epochs, and then all.
    """

    model: Marzahl
    _heads_alone = False

    def __init__(self, classes: list[str], image_size: tuple[int, int], provenance: Provenance, compile: bool = False):
        """Build the model; see `Classifier`."""
        super().__init__(classes, image_size, provenance, compile)
        both = self.model.class_and_box
        self._class_and_box = torch.compile(both, dynamic=False) if compile else both
        self.select_iou = MeanMetric()

    def train(self, mode: bool = True) -> "BoxClassifier":
        """Set the mode of all layers but the frozen ones, and the body's while the heads are trained alone."""
        super().train(mode)
        if self._heads_alone:
            self.model.body.eval()
        return self

    def on_train_epoch_start(self) -> None:
        """Change from the heads to all weights after half of the epochs."""
        self._heads_alone = self.current_epoch < self._epochs_of_heads
        self.train()

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """Loss of one augmented batch."""
        images, labels, boxes = batch
        images, boxes = augment_with_boxes(images, boxes)
        images = normalize(images).contiguous(memory_format=torch.channels_last)
        return self.logged(marzahl_loss(*self._class_and_box(images), labels, boxes))

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Loss, top-1 and overlap of the boxes of one batch of `select`."""
        images, labels, true = batch
        logits, boxes = self.model.class_and_box(normalize(images))
        self.log_select(logits, labels, marzahl_loss(logits, boxes, labels, true))
        self.select_iou.update(intersection_over_union(boxes, true))
        self.log("select_iou", self.select_iou, prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, in one cycle; where `--start` was given in two, each with its own rates.

        While the heads are trained alone, the rate of the body is 0: on several devices each weight needs a gradient.
        """
        if not self.provenance.start:
            return super().configure_optimizers()
        groups: dict[tuple[int, float], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                groups[stages_above(MARZAHL, name), weight_decay(name, parameter)].append(parameter)
        groups = dict(sorted(groups.items(), key=lambda group: group[0]))  # the heads first: their rate is shown
        optimizer = torch.optim.AdamW(
            [{"params": weights, "lr": 1.0, "weight_decay": decay} for (_, decay), weights in groups.items()]
        )
        steps, epochs = int(self.trainer.estimated_stepping_batches), self.trainer.max_epochs or 1
        of_heads = steps * self._epochs_of_heads // epochs
        rates = [partial(rate, stage, steps=steps, of_heads=of_heads) for stage, _ in groups]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rates)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def _epochs_of_heads(self) -> int:
        return (self.trainer.max_epochs or 1) // 2 if self.provenance.start else 0


def rate(stage: int, step: int, steps: int, of_heads: int) -> float:
    """Learning rate of a weight at a step of a training that started from trained weights.

    Args:
        stage: Number of stages between the weight and the heads; 0 of the heads.
        step: Counted from 0.
        steps: Of the training.
        of_heads: The first ones, in which the heads are trained alone.
    """
    if step < of_heads:
        return HEADS_RATE * cycle(step, of_heads) if stage == 0 else 0.0
    return RATES[stage] * cycle(step - of_heads, steps - of_heads)


def cycle(step: int, steps: int) -> float:
    """Share of the highest rate, which rises and falls linearly, at a step counted from 0; 0 after the last."""
    rise = max(1, round(RISE * steps))
    return max(0.0, min((step + 1) / rise, (steps - step) / (steps - rise + 1)))


def mean_overlap(model: nn.Module, images: npt.NDArray[np.uint8], true: Tensor, batch_size: int = 32) -> float:
    """Mean intersection over union of the boxes of uint8 images (N, H, W, 3) with the true ones (N, 4)."""
    network = cast(Marzahl, model)
    with torch.inference_mode():
        batches = torch.from_numpy(images).split(batch_size)
        boxes = torch.cat([network.class_and_box(normalize(batch))[1] for batch in batches])
    return float(intersection_over_union(boxes, true).mean())
