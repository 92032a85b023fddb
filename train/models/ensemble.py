"""An ensemble of RCMNet and further networks: its logits are the mean of the members'.

Members that were pretrained on ImageNet make other mistakes. At half the image's width EfficientNet-Lite0 adds a
sixteenth to RCMNet's multiplications, EfficientNet-Lite2 a tenth.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import MapClassifier, NetworkWithMap

PLUS = "+"  # between the architectures of an ensemble's members
FIRST_SHARE = 8 / 9  # of width and height: as accurate as all of them, in four fifths of the time
MEMBER = "readers.{}."  # prefix of a member's weights: existing graphs and checkpoints have it


class Ensemble(MapClassifier):
    """RCMNet, and others on half the width and height.

    The mean of linear heads is one linear head on all features; so heat maps are exact here too, and show the evidence
    of all members.
    """

    def __init__(self, members: Sequence[NetworkWithMap]):
        """Join networks; their heads are removed and become one.

        Args:
            members: The first one sees images at `first_size`, the others at half of the whole.
        """
        super().__init__()
        heads = [member.fc for member in members]
        self.fc = nn.Linear(sum(head.in_features for head in heads), heads[0].out_features)
        with torch.no_grad():
            self.fc.weight.copy_(torch.cat([head.weight for head in heads], 1) / len(heads))
            self.fc.bias.copy_(torch.stack([head.bias for head in heads]).mean(0))
        self.inner_channels = members[0].inner_channels
        for member in members:
            del member.fc
        self.readers = nn.ModuleList(members)  # see MEMBER

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Last feature maps of the members, (N, 512, …), (N, 1280, …), …, of normalised images (N, 3, H, W)."""
        return self.all_maps(x)[: len(self.readers)]

    def all_maps(self, x: Tensor) -> list[Tensor]:
        """The same, then the inner ones of the first member."""
        first, *others = cast(Sequence[NetworkWithMap], self.readers)
        height, width = x.shape[2:]
        smaller = F.interpolate(x, first_size((height, width)), mode="bilinear")
        half = F.avg_pool2d(x, 2)
        last, *inner = first.all_maps(smaller)
        return [last, *(other.feature_map(half) for other in others), *inner]


def first_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height at which the first member sees images of a size."""
    width, height = size
    return round(width * FIRST_SHARE), round(height * FIRST_SHARE)
