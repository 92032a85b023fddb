"""A small network, pretrained on ImageNet, as an ensemble member beside RCMNet."""

from typing import Any

import torch
from torch import Tensor, nn

from .base import IMAGENET_MEAN, IMAGENET_STD, NetworkWithMap

EFFICIENTNETS = ("efficientnet_lite0", "efficientnet_lite2")
FROZEN = 2  # first stages, which see edges and colours at a quarter of the image's width


class EfficientNetLite(NetworkWithMap):
    """EfficientNet-Lite of timm, with its own normalisation; the weights of its first stages stay ImageNet's."""

    scale: Tensor
    shift: Tensor

    def __init__(self, arch: str, num_classes: int):
        """Build the network.

        Args:
            arch: One of `EFFICIENTNETS`.
            num_classes: Number of logits K.
        """
        import timm  # only here: RCMNet is built without it

        super().__init__()
        self.body: Any = timm.create_model(f"tf_{arch}", num_classes=0)
        self.fc = nn.Linear(self.body.num_features, num_classes)
        mean, std = (torch.tensor(value)[:, None, None] * 255 for value in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("scale", std / 128, persistent=False)  # its pixels are (x − 127) / 128
        self.register_buffer("shift", (mean - 127) / 128, persistent=False)
        for part in (self.body.conv_stem, self.body.bn1, self.body.blocks[:FROZEN]):
            part.requires_grad_(False)

    def feature_map(self, x: Tensor) -> Tensor:
        """Last feature map A (N, 1280, h, w) of normalised images (N, 3, H, W)."""
        return self.body.forward_features(x * self.scale + self.shift)
