"""RCMNet (arXiv:2205.04230, section III): ResNet18 with attention in its blocks and one transformer block on top.

The four models of the paper's Table 4 are one class with parts left out:

    resnet18      neither
    resnet18_c    CBAM in every basic block
    resnet18_m    one BoT block with multi-head self-attention (MHSA) after layer 4
    rcmnet        both
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import NetworkWithMap

ARCHITECTURES = {
    "resnet18": {"cbam": False, "attention": False},
    "resnet18_c": {"cbam": True, "attention": False},
    "resnet18_m": {"cbam": False, "attention": True},
    "rcmnet": {"cbam": True, "attention": True},
}


class ChannelAttention(nn.Module):
    """CBAM's equation 2: one shared MLP over average- and max-pooled channels."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, kernel_size=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels // reduction, channels, kernel_size=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Weights (N, C, 1, 1) for (N, C, H, W)."""
        average = x.mean((2, 3), keepdim=True, dtype=torch.float32).to(x.dtype)  # half overflows in large sums
        maximum = x.amax((2, 3), keepdim=True)
        return torch.sigmoid(self.mlp(average) + self.mlp(maximum))


class SpatialAttention(nn.Module):
    """CBAM's equation 3: a 7×7 convolution over the channel-wise mean and maximum."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weights (N, 1, H, W) for (N, C, H, W)."""
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)  # (N, 2, H, W)
        return torch.sigmoid(self.conv(pooled))


class CBAM(nn.Module):
    """Convolutional block attention module (Woo et al., ECCV 2018): first which channels, then where."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.channel = ChannelAttention(channels, reduction)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        """Weigh (N, C, H, W) by both attentions."""
        x = x * self.channel(x)
        return x * self.spatial(x)


class BasicBlock(nn.Module):
    """Basic block of ResNet18, with CBAM between the second batch norm and the sum."""

    def __init__(self, channels_in: int, channels: int, stride: int, cbam: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.cbam = CBAM(channels) if cbam else nn.Identity()
        self.downsample = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    @property
    def last_bn(self) -> nn.BatchNorm2d:
        """Batch norm before the sum."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C, H/stride, W/stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.cbam(self.bn2(self.conv2(out)))
        return F.relu(out + self.downsample(x))


class RelativeSelfAttention(nn.Module):
    """Multi-head self-attention over h×w tokens with 2D relative positions (paper's equations 4–6).

    The logit from token (y, x) to token (i, j) is q·k + q·rel_height[i−y] + q·rel_width[j−x], with q scaled by
    d^-½ before all three products. Logits and softmax are computed in float32, also where the rest is half precision.
    """

    def __init__(self, channels: int, heads: int, map_size: tuple[int, int]):
        super().__init__()
        self.heads = heads
        self.head_channels = channels // heads  # d
        height, width = map_size
        self.query = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.key = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.value = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.rel_height = nn.Parameter(torch.zeros(2 * height - 1, self.head_channels))
        self.rel_width = nn.Parameter(torch.zeros(2 * width - 1, self.head_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        _, channels, height, width = x.shape
        split_heads = (-1, self.heads, self.head_channels, height * width)
        q = self.query(x).reshape(split_heads)  # (B, heads, d, HW)
        k = self.key(x).reshape(split_heads)
        v = self.value(x).reshape(split_heads)
        q = q.float().transpose(2, 3) * self.head_channels**-0.5  # (B, heads, HW, d)
        logits = q @ k.float() + self.position_logits(q, height, width)  # (B, heads, HW, HW)
        weights = logits.softmax(-1).to(v.dtype)
        return (v @ weights.transpose(2, 3)).reshape(-1, channels, height, width)

    def position_logits(self, q: Tensor, height: int, width: int) -> Tensor:
        """Relative-position logits (B, heads, HW, HW) of scaled queries (B, heads, HW, d).

        Each table is gathered into one matrix per query row (or column), so that only matrix products remain.
        """
        by_row = relative_vectors(self.rel_height.float(), height).transpose(1, 2)  # (h, d, h)
        by_column = relative_vectors(self.rel_width.float(), width).transpose(1, 2)  # (w, d, w)
        q = q.reshape(-1, self.heads, height, width, self.head_channels)
        rows = q @ by_row  # (B, heads, h, w, h)
        columns = (q.transpose(2, 3) @ by_column).transpose(2, 3)  # (B, heads, h, w, w)
        rows = rows.reshape(-1, self.heads, height * width, height, 1)
        columns = columns.reshape(-1, self.heads, height * width, 1, width)
        return (rows + columns).reshape(-1, self.heads, height * width, height * width)


def relative_vectors(table: Tensor, length: int) -> Tensor:
    """Vectors (length, length, d) with `[i, j] = table[j − i + length − 1]`, from a table (2n−1, d).

    A table for another length is interpolated first, so that weights move between image sizes.
    """
    table = interpolate_table(table, 2 * length - 1)
    position = torch.arange(length, device=table.device)
    return table[position[None, :] - position[:, None] + length - 1]


def interpolate_table(table: Tensor, rows: int) -> Tensor:
    """Resample a relative-position table (R, d) to (rows, d), keeping its middle, distance zero, in place.

    Shrinking averages, so that training on small images moves every row of the table.
    """
    if table.shape[0] == rows:
        return table
    channels_first = table.T[None]  # (1, d, R)
    if rows < table.shape[0]:
        return F.interpolate(channels_first, size=rows, mode="area")[0].T
    return F.interpolate(channels_first, size=rows, mode="linear", align_corners=True)[0].T


class BoTBlock(nn.Module):
    """Bottleneck transformer block (Srinivas et al., CVPR 2021) at constant width."""

    def __init__(self, channels: int, heads: int, map_size: tuple[int, int]):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.attention = RelativeSelfAttention(channels, heads, map_size)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)

    @property
    def last_bn(self) -> nn.BatchNorm2d:
        """Batch norm before the sum."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to the same shape."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.attention(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + x)


class RCMNet(NetworkWithMap):
    """ResNet18 + CBAM + MHSA, global average pooling and one linear layer."""

    def __init__(self, num_classes: int, map_size: tuple[int, int], cbam: bool, attention: bool):
        """Build the network.

        Args:
            num_classes: Number of logits K.
            map_size: Height and width of the last feature map.
            cbam: Whether every basic block has CBAM.
            attention: Whether a BoT block follows layer 4.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = residual_stage(64, 64, stride=1, cbam=cbam)
        self.layer2 = residual_stage(64, 128, stride=2, cbam=cbam)
        self.layer3 = residual_stage(128, 256, stride=2, cbam=cbam)
        self.layer4 = residual_stage(256, 512, stride=2, cbam=cbam)
        self.bot = BoTBlock(512, heads=4, map_size=map_size) if attention else nn.Identity()
        self.fc = nn.Linear(512, num_classes)
        self.inner_channels = 128 + 256 + 512 * attention
        initialize(self)

    def feature_map(self, x: Tensor) -> Tensor:
        """Last feature map A (N, 512, h, w) of normalised images (N, 3, H, W)."""
        return self._stages(x)[-1]

    def all_maps(self, x: Tensor) -> list[Tensor]:
        """The last feature map, then those of layers 2, 3 and, below a BoT block, 4."""
        *inner, last = self._stages(x)
        return [last, *inner]

    def _stages(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.bn1(self.conv1(x)))
        x = max_pool(x)  # (N, 64, H/4, W/4)
        x = self.layer1(x)
        second = self.layer2(x)
        third = self.layer3(second)
        fourth = self.layer4(third)  # (N, 512, H/32, W/32)
        inner = [second, third, fourth]
        return inner if isinstance(self.bot, nn.Identity) else [*inner, self.bot(fourth)]


def initialize(model: nn.Module) -> None:
    """Draw the weights of a model of residual blocks; each block starts as its shortcut."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, BasicBlock | BoTBlock):
            nn.init.zeros_(module.last_bn.weight)


def residual_stage(channels_in: int, channels: int, stride: int, cbam: bool = False) -> nn.Sequential:
    """Two basic blocks; the first changes width and size."""
    return nn.Sequential(BasicBlock(channels_in, channels, stride, cbam), BasicBlock(channels, channels, 1, cbam))


def max_pool(x: Tensor) -> Tensor:
    """Largest of each 3×3 window of (N, C, H, W), every second one: (N, C, ⌈H/2⌉, ⌈W/2⌉). No value may be negative.

    In a compiled training step it is written as maxima, whose gradient a CPU computes several times as fast.
    """
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    x = F.pad(x, (1, 2, 1, 2))
    columns = [x[..., first : first + 2 * ((x.shape[3] - 2) // 2) : 2] for first in range(3)]
    x = torch.maximum(torch.maximum(columns[0], columns[1]), columns[2])
    rows = [x[:, :, first : first + 2 * ((x.shape[2] - 2) // 2) : 2] for first in range(3)]
    return torch.maximum(torch.maximum(rows[0], rows[1]), rows[2])
