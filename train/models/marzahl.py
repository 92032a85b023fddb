"""ResNet18 that classifies a cell and tells its box (Marzahl et al. 2019, doi 10.1007/978-981-15-0798-4_2).

A box (N, 4) has centre x, centre y, width and height as shares of the picture, each stretched from 0…1 to −1…1, as the
paper has it: 2·(share − ½). The middle of the picture is 0, 0.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import FeatureClassifier
from .rcmnet import ARCHITECTURES, RCMNet

MARZAHL = "marzahl"
HIDDEN = 512
BODY = "body."  # begins the names of ResNet18's weights
BOX_HEAD = "box."


class Marzahl(FeatureClassifier):
    """ResNet18 with two heads: the class, and the cell's box."""

    def __init__(self, num_classes: int):
        """Build the network.

        Args:
            num_classes: Number of logits K.
        """
        super().__init__()
        self.body = RCMNet(1, map_size=(1, 1), **ARCHITECTURES["resnet18"])
        del self.body.fc
        self.hidden = _hidden()
        self.fc = nn.Linear(HIDDEN, num_classes)
        self.box = nn.Sequential(_hidden(), nn.Linear(HIDDEN, 4))

    def features(self, x: Tensor) -> Tensor:
        """Input of the last linear layer (N, 512), float32, for normalised images (N, 3, H, W)."""
        return self.hidden(self._pooled(x)).float()

    def class_and_box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and boxes (N, 4) of normalised images (N, 3, H, W)."""
        features, boxes = self.features_and_box(x)
        return self.fc(features), boxes

    def features_and_box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Input of the last linear layer (N, 512) and boxes (N, 4), float32, of normalised images (N, 3, H, W)."""
        pooled = self._pooled(x)
        return self.hidden(pooled).float(), 2 * (torch.sigmoid(self.box(pooled).float()) - 0.5)

    def _pooled(self, x: Tensor) -> Tensor:
        """Average and maximum of the last feature map, side by side, (N, 1024)."""
        features = self.body.feature_map(x).float()
        return torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)


def _hidden() -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm1d(2 * HIDDEN),
        nn.Dropout(0.25),
        nn.Linear(2 * HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.BatchNorm1d(HIDDEN),
        nn.Dropout(0.5),
    )


def marzahl_loss(logits: Tensor, boxes: Tensor, labels: Tensor, true_boxes: Tensor) -> Tensor:
    """Cross-entropy of logits (N, K) for labels (N,), plus the mean absolute error of boxes (N, 4)."""
    return F.cross_entropy(logits, labels) + F.l1_loss(boxes, true_boxes)


def stretched(shares: Tensor) -> Tensor:
    """Boxes in shares of the picture (N, 4) as the network gives them: 2·(share − ½)."""
    return 2 * (shares - 0.5)


def within_picture(boxes: Tensor) -> Tensor:
    """Upper left corner, width and height (N, 4), in shares of the picture, of what it has of the network's boxes."""
    low, high = (corner.clamp(0, 1) for corner in _corners(boxes))
    return torch.cat([low, high - low], 1)


def intersection_over_union(first: Tensor, second: Tensor) -> Tensor:
    """Share of the area of two boxes that they have in common, (N,) for boxes (N, 4) of the network's form."""
    low, high = zip(*map(_corners, (first, second)), strict=True)
    common = (torch.minimum(*high) - torch.maximum(*low)).clamp(min=0).prod(1)
    areas = [(right - left).prod(1) for left, right in zip(low, high, strict=True)]
    return common / (areas[0] + areas[1] - common).clamp(min=torch.finfo(common.dtype).eps)


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Upper left and lower right (N, 2), in shares of the picture."""
    centre, size = ((boxes + 1) / 2).split(2, 1)
    return centre - size / 2, centre + size / 2
