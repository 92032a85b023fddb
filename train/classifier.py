"""A model in training: loss, metrics, optimizer."""

from collections import defaultdict

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from ..runtime.bundle.provenance import Provenance
from .augment import augment
from .checkpoint import hyper_parameters
from .freeze import NONE, RATE_DECAY, frozen_prefixes, stages_above
from .loaders import CellData
from .models.base import normalize
from .models.baselines import BASELINES
from .models.build import build

PEAK_RATE = 2e-3
START_PEAK_RATE = 1e-3  # for weights that are trained already
BASELINE_PEAK_RATE = 2e-4  # lower, because they have no batch norms
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05


class Classifier(pl.LightningModule):
    """A model in training. Takes uint8 images (B, H, W, 3) and int64 labels (B,)."""

    def __init__(self, classes: list[str], image_size: tuple[int, int], provenance: Provenance, compile: bool = False):
        """Build the model.

        Args:
            classes: Class names in order.
            image_size: Width and height in pixels of the images that the finished model is for.
            provenance: Architecture, start, what stays fixed, data and so on; goes into the checkpoint.
            compile: Whether training steps run compiled.
        """
        super().__init__()
        self.provenance = provenance
        self.save_hyperparameters(hyper_parameters(provenance.arch, classes, image_size, provenance))
        self.model = build(provenance.arch, len(classes), image_size).to(memory_format=torch.channels_last)
        self._frozen = frozen_prefixes(provenance.arch, provenance.freeze or NONE)
        for name, parameter in self.model.named_parameters():
            if name.startswith(self._frozen):
                parameter.requires_grad_(False)
        self.train()
        # A function, not a module: the state dict keeps its names. Each size is compiled by itself, for fixed shapes.
        self._logits = torch.compile(self.model.forward, dynamic=False) if compile else self.model.forward
        self.loss = MeanMetric()
        self.select_loss = MeanMetric()
        self.select_top1 = MulticlassAccuracy(num_classes=len(classes), average="micro")

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode of all layers but the frozen ones: their batch statistics stay as they are."""
        super().train(mode)
        for name, module in self.model.named_modules():
            if f"{name}.".startswith(self._frozen):
                module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of uint8 images (B, H, W, 3)."""
        return self.model(normalize(images))

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """Loss of one augmented batch."""
        images, labels = batch
        images = normalize(augment(images)).contiguous(memory_format=torch.channels_last)
        return self.logged(F.cross_entropy(self._logits(images), labels, label_smoothing=LABEL_SMOOTHING))

    def logged(self, loss: Tensor) -> Tensor:
        """The loss of a batch, after it was noted for the epoch's mean."""
        self.loss.update(loss.detach())
        self.log("loss", self.loss, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Loss and top-1 of one batch of `select`."""
        images, labels = batch
        logits = self(images)
        self.log_select(logits, labels, F.cross_entropy(logits, labels))

    def log_select(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Note logits (B, K) and the mean loss of one batch of `select`, for the epoch's figures."""
        self.select_loss.update(loss, weight=len(labels))
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
        """AdamW, its rate rising and falling linearly; no decay for batch norms, biases and positions.

        Where `--start` was given, the rate rises from the first stage to the head.
        """
        rate = BASELINE_PEAK_RATE if self.provenance.arch in BASELINES else PEAK_RATE
        rate = min(rate, START_PEAK_RATE) if self.provenance.start else rate
        groups = self._weights(rate)
        rates = [its_rate for its_rate, _ in groups]
        optimizer = torch.optim.AdamW(
            [
                {"params": weights, "lr": its_rate, "weight_decay": decay}
                for (its_rate, decay), weights in groups.items()
            ]
        )
        steps = int(self.trainer.estimated_stepping_batches) + 1
        rise = max(0.1, 2 / steps)  # at least one step, or it would divide by zero
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rates, total_steps=steps, pct_start=rise, anneal_strategy="linear"
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _weights(self, rate: float) -> dict[tuple[float, float], list[nn.Parameter]]:
        """Weights that are trained, by learning rate and weight decay; those of the head first."""
        start, arch = self.provenance.start, self.provenance.arch
        per_stage = RATE_DECAY if start and not start.package else 1.0
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                its_rate = rate * per_stage ** stages_above(arch, name)
                groups[its_rate, weight_decay(name, parameter)].append(parameter)
        return dict(sorted(groups.items(), key=lambda group: group[0], reverse=True))


def weight_decay(name: str, parameter: nn.Parameter) -> float:
    """Weight decay of a parameter: none for batch norms, biases and positions."""
    return WEIGHT_DECAY if parameter.ndim > 1 and ".rel_" not in name else 0.0


def select_score(stage: int, top1: float, loss: float, cells: int) -> float:
    """Score of an epoch: first its stage, because the last size is the one that ships; then accuracy; then loss.

    Args:
        stage: Index of its stage.
        top1: Accuracy on `select`.
        loss: Mean cross-entropy there.
        cells: Number of cells there.
    """
    return stage + top1 - 0.5 / cells * (1 - 1 / (1 + loss))
