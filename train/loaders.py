"""Data loaders of the training, at the image size of the current stage."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
from torch.utils.data import DataLoader, Sampler

from ..calibration.split import Split, class_of
from ..runtime.bundle.provenance import Stage, stage_index
from .images import LabelledImages, load_images
from .progress import reading


class BalancedSampler(Sampler[int]):
    """Draws every class equally often: each repeats its own shuffled images until all have given the same number."""

    def __init__(self, labels: npt.NDArray[np.int64], seed: int):
        self.labels = labels
        self.seed = seed
        self.per_class = -(-len(labels) // len(np.unique(labels)))

    def __len__(self) -> int:
        return self.per_class * len(np.unique(self.labels))

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng(self.seed)
        chosen = []
        for label in np.unique(self.labels):
            members = np.flatnonzero(self.labels == label)
            rounds = -(-self.per_class // len(members))
            chosen.append(np.concatenate([random.permutation(members) for _ in range(rounds)])[: self.per_class])
        return iter(random.permutation(np.concatenate(chosen)).tolist())


class CellData(pl.LightningDataModule):
    """`fit` images to train on and `select` images to evaluate on, at the size of the current stage."""

    def __init__(self, data_dir: Path, split: Split, stages: Sequence[Stage], batch_size: int, seed: int):
        super().__init__()
        self.data_dir = data_dir
        self.split = split
        self.stages = stages
        self.batch_size = batch_size
        self.seed = seed
        self.classes = sorted({class_of(path) for path in split.parts})
        self._loaded: dict[str, tuple[tuple[int, int], LabelledImages]] = {}

    def stage_index(self, epoch: int) -> int:
        """Index of the stage that an epoch belongs to."""
        return stage_index(self.stages, epoch)

    def images(self, part: str, size: tuple[int, int]) -> LabelledImages:
        """Images of one part at one size; the last size asked for is kept."""
        if part not in self._loaded or self._loaded[part][0] != size:
            self._loaded.pop(part, None)  # free the old size before the new one is read
            paths = self.split.paths(part)
            progress = reading(part, len(paths), size)
            self._loaded[part] = size, load_images(self.data_dir, paths, self.classes, size, progress)
        return self._loaded[part][1]

    def train_dataloader(self) -> DataLoader[tuple[npt.NDArray[np.uint8], int]]:
        """Balanced batches of `fit`: uint8 (B, H, W, 3) and int64 (B,)."""
        epoch = self._epoch()
        images = self.images("fit", self.stages[self.stage_index(epoch)].size)
        sampler = BalancedSampler(images.labels, self.seed + epoch)
        return DataLoader(images, self.batch_size, sampler=sampler, drop_last=len(images) > self.batch_size)

    def val_dataloader(self) -> DataLoader[tuple[npt.NDArray[np.uint8], int]]:
        """Batches of `select`, in order."""
        return DataLoader(self.images("select", self.stages[self.stage_index(self._epoch())].size), self.batch_size)

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0
