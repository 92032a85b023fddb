"""Data loaders of the training, at the image size of the current stage."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..calibration.boxes import Box, check_inside, read_boxes
from ..calibration.split import TRAINED, Split, class_of
from ..runtime.bundle.provenance import Stage, stage_index
from .images import LabelledImages, load_images
from .models.marzahl import stretched
from .progress import reading

SHARE_OF_GPU = 0.25  # of its free memory, for images; the rest is for the training

Batch = tuple[Tensor, ...]


class HeldImages(Dataset[Batch]):
    """Images as one tensor, from which whole batches are taken: on a GPU, none is copied there step by step.

    Attributes:
        images: RGB, uint8, (N, H, W, 3).
        labels: Class indices, int64, (N,).
        boxes: Boxes of the cells, float32, (N, 4), in the form of `cartcls.train.models.marzahl`; None without.
    """

    def __init__(self, loaded: LabelledImages, device: torch.device, boxes: Tensor | None = None):
        self.images = torch.from_numpy(loaded.images).to(device)
        self.labels = torch.from_numpy(loaded.labels).to(device)
        self.boxes = None if boxes is None else boxes.to(device)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> Batch:
        """Images (B, H, W, 3), class indices (B,), and boxes (B, 4) where there are any."""
        chosen = torch.tensor(indices, device=self.images.device)
        batch = self.images[chosen], self.labels[chosen]
        return batch if self.boxes is None else (*batch, self.boxes[chosen])


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

    def __init__(
        self,
        data_dir: Path,
        split: Split,
        stages: Sequence[Stage],
        batch_size: int,
        seed: int,
        boxes_file: Path | None = None,
    ):
        """Note what is to be read.

        Args:
            data_dir: Folder with one folder per class.
            split: Of it.
            stages: Image sizes and epochs.
            batch_size: Images per step.
            seed: Of the order.
            boxes_file: Boxes of the cells of `fit` and `select`, as `cartcls.calibration.boxes` reads them.

        Raises:
            DataError: The boxes cannot be used.
        """
        super().__init__()
        self.data_dir = data_dir
        self.split = split
        self.stages = stages
        self.batch_size = batch_size
        self.seed = seed
        self.classes = sorted({class_of(path) for path in split.parts})
        self.boxes_file = boxes_file
        self.boxes: dict[str, Box] = {}
        if boxes_file:
            self.boxes = read_boxes(boxes_file, [path for part in TRAINED for path in split.paths(part)])
        self._loaded: dict[str, tuple[tuple[int, int], LabelledImages]] = {}
        self._on_device: dict[str, tuple[tuple[int, int], HeldImages]] = {}

    def stage_index(self, epoch: int) -> int:
        """Index of the stage that an epoch belongs to."""
        return stage_index(self.stages, epoch)

    def images(self, part: str, size: tuple[int, int]) -> LabelledImages:
        """Images of one part at one size; the last size asked for is kept."""
        if part not in self._loaded or self._loaded[part][0] != size:
            self._loaded.pop(part, None)  # free the old size before the new one is read
            paths = self.split.paths(part)
            progress = reading(part, len(paths), size)
            loaded = load_images(self.data_dir, paths, self.classes, size, progress)
            if self.boxes_file and part in TRAINED:
                check_inside(
                    self.boxes_file, self.boxes, dict(zip(paths, map(tuple, loaded.sizes.tolist()), strict=True))
                )
            self._loaded[part] = size, loaded
        return self._loaded[part][1]

    def true_boxes(self, loaded: LabelledImages) -> Tensor | None:
        """Boxes (N, 4) of images of `fit` or `select`, in the form of `cartcls.train.models.marzahl`; None without."""
        if not self.boxes_file:
            return None
        boxes = np.array([astuple(self.boxes[path]) for path in loaded.paths])
        corners, sizes = boxes[:, :2], boxes[:, 2:]
        centres = np.concatenate([corners + sizes / 2, sizes], 1) / np.tile(loaded.sizes, 2)
        return stretched(torch.from_numpy(centres.astype(np.float32)))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Balanced batches of `fit`: uint8 (B, H, W, 3), int64 (B,), and boxes (B, 4) where there are any."""
        held = self._held("fit")
        sampler = BalancedSampler(self.images("fit", self._size()).labels, self.seed + self._epoch())
        drop_last = len(held) > self.batch_size
        return DataLoader(held, self.batch_size, sampler=sampler, drop_last=drop_last, collate_fn=_as_it_is)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches of `select`, in order."""
        return DataLoader(self._held("select"), self.batch_size, collate_fn=_as_it_is)

    def _held(self, part: str) -> HeldImages:
        """Images of one part at the size of the current stage, on the GPU where they leave enough of it free."""
        size = self._size()
        if part not in self._on_device or self._on_device[part][0] != size:
            self._on_device.pop(part, None)
            loaded = self.images(part, size)
            self._on_device[part] = (
                size,
                HeldImages(loaded, self._device(loaded.images.nbytes), self.true_boxes(loaded)),
            )
        return self._on_device[part][1]

    def _device(self, size: int) -> torch.device:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type == "cuda" and size <= SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0]:
            return device
        return torch.device("cpu")

    def _size(self) -> tuple[int, int]:
        return self.stages[self.stage_index(self._epoch())].size

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0


def _as_it_is(batch: object) -> object:
    return batch
