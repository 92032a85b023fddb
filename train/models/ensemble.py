"""An ensemble of RCMNet and further networks: its logits are the mean of the members'.

Members that were pretrained on ImageNet make other mistakes. At half the image's width EfficientNet-Lite0 adds a
twentieth to RCMNet's multiplications, EfficientNet-Lite2 a twelfth.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import MapClassifier

PLUS = "+"  # between the architectures of an ensemble's members
MEMBER = "readers.{}."  # prefix of a member's weights: existing graphs and checkpoints have it


class Ensemble(MapClassifier):
    """RCMNet at full size and others at half.

    The mean of linear heads is one linear head on the concatenated feature maps; so heat maps are exact here too, and
    show the evidence of all members.
    """

    def __init__(self, members: Sequence[MapClassifier]):
        """Join networks; their heads are removed and become one.

        Args:
            members: The first one sees images at full size, the others at half.
        """
        super().__init__()
        heads = [member.fc for member in members]
        self.fc = nn.Linear(sum(head.in_features for head in heads), heads[0].out_features)
        with torch.no_grad():
            self.fc.weight.copy_(torch.cat([head.weight for head in heads], 1) / len(heads))
            self.fc.bias.copy_(torch.stack([head.bias for head in heads]).mean(0))
        for member in members:
            del member.fc
        self.readers = nn.ModuleList(members)  # see MEMBER

    def feature_map(self, x: Tensor) -> Tensor:
        """All last feature maps A (N, 512 + 1280 + …, h, w) of normalised images (N, 3, H, W)."""
        first, *others = cast(Sequence[MapClassifier], self.readers)
        half = F.avg_pool2d(x, 2)
        maps = torch.cat([other.feature_map(half) for other in others], 1)
        maps = F.interpolate(maps, scale_factor=2.0, mode="bilinear")  # which keeps the mean of a map
        return torch.cat([first.feature_map(x), maps], 1)
