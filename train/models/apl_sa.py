"""Residual blocks with a spatial attention that is their explanation (Yan et al. 2025, doi 10.3389/fonc.2025.1619296).

The paper, on fusion genes of acute promyelocytic leukaemia, names residual blocks and a spatial attention module. How
many layers, how wide and in what order is our reading: those of ResNet18, with CBAM's equation 3 before the last stage.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from .base import AttentionClassifier
from .rcmnet import SpatialAttention, initialize, max_pool, residual_stage

APL_SA = "apl_sa"


class AplSa(AttentionClassifier):
    """ResNet18 that weighs the positions of the map before its last stage."""

    def __init__(self, num_classes: int):
        """Build the network.

        Args:
            num_classes: Number of logits K.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = residual_stage(64, 64, stride=1)
        self.layer2 = residual_stage(64, 128, stride=2)
        self.layer3 = residual_stage(128, 256, stride=2)
        self.attention = SpatialAttention()
        self.layer4 = residual_stage(256, 512, stride=2)
        self.fc = nn.Linear(512, num_classes)
        initialize(self)
        nn.init.zeros_(self.attention.conv.weight)  # drawn weights saturate it, and it stays at the border of the map

    def map_and_attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Last feature map A (N, 512, H/32, W/32), and the attention in 0…1, (N, 1, H/16, W/16)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = max_pool(x)  # (N, 64, H/4, W/4)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)  # (N, 256, H/16, W/16)
        attention = self.attention(x)
        return self.layer4(x * attention), attention
