"""The normalisation of the shipped graph, with its constants on the device from the start.

Copied there at each call, as when a model is trained or exported, they would stop the stream.
"""

import torch
from torch import Tensor

from cartcls.export import graph
from cartcls.train.models.base import IMAGENET_MEAN, IMAGENET_STD


class Normalization:
    """`normalize` of `cartcls.train.models.base` on one device."""

    def __init__(self, device: str):
        self.mean = torch.tensor(IMAGENET_MEAN, device=device) * 255
        self.std = torch.tensor(IMAGENET_STD, device=device) * 255

    def __call__(self, image: Tensor) -> Tensor:
        """Turn uint8 RGB images (N, H, W, 3) into normalised float32 (N, 3, H, W)."""
        return ((image.float() - self.mean) / self.std).permute(0, 3, 1, 2)


def keep_constants_on(device: str) -> None:
    """Have graphs normalise so, in this process."""
    graph.normalize = Normalization(device)
