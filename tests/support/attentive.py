"""A small network with a spatial attention, which is trained and exported in seconds."""

import torch
from torch import Tensor, nn

from cartcls.train.models.base import AttentionClassifier

TINY = "tiny_attention"


class TinyAttention(AttentionClassifier):
    """Two convolutions with an attention between them, from the mean and the maximum over the channels."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 7, 4, 3)
        self.weigh = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.last = nn.Conv2d(16, 32, 3, 2, 1)
        self.fc = nn.Linear(32, num_classes)

    def map_and_attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x).relu()
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        attention = torch.sigmoid(self.weigh(pooled))
        return self.last(x * attention).relu(), attention
