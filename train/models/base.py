"""What all models share: the normalisation before them, and logits that are one linear layer on features."""

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STRIDE = 32  # pixels of the image per position of the last feature map


def normalize(image: Tensor) -> Tensor:
    """Turn uint8 RGB images (N, H, W, 3) into normalised float32 (N, 3, H, W)."""
    mean = torch.tensor(IMAGENET_MEAN, device=image.device) * 255
    std = torch.tensor(IMAGENET_STD, device=image.device) * 255
    return ((image.float() - mean) / std).permute(0, 3, 1, 2)


class FeatureClassifier(nn.Module):
    """A network whose logits are one linear layer on its features.

    Attributes:
        fc: The linear layer.
    """

    fc: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """Features (N, D), float32, of normalised images (N, 3, H, W)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Classify normalised images (N, 3, H, W) into logits (N, K)."""
        return self.fc(self.features(x))


class MapClassifier(FeatureClassifier):
    """A model whose features are the means of last feature maps, so that Grad-CAM needs no gradient.

    See `cartcls.export.graph`.

    Attributes:
        inner_channels: Of the maps of inner stages that `all_maps` gives beside the last ones.
    """

    inner_channels = 0

    def features(self, x: Tensor) -> Tensor:
        """Means of the last feature maps (N, D), float32, of normalised images (N, 3, H, W)."""
        return means(self.feature_maps(x))

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Last feature map of each network in it, (N, D_i, h_i, w_i), of normalised images (N, 3, H, W)."""
        raise NotImplementedError

    def all_maps(self, x: Tensor) -> list[Tensor]:
        """The same, then maps of inner stages (N, D_j, h_j, w_j), which a head that is fitted later may read too."""
        return self.feature_maps(x)


def means(maps: list[Tensor]) -> Tensor:
    """Means of maps (N, D_i, h_i, w_i), side by side, float32, (N, D)."""
    return torch.cat([found.float().mean((2, 3)) for found in maps], 1)


class NetworkWithMap(MapClassifier):
    """A single network, with one last feature map."""

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Its last feature map alone."""
        return [self.feature_map(x)]

    def feature_map(self, x: Tensor) -> Tensor:
        """Last feature map A (N, D, h, w) of normalised images (N, 3, H, W)."""
        raise NotImplementedError


class AttentionClassifier(NetworkWithMap):
    """A network that weighs the positions of a feature map by a spatial attention, which explains its answer too."""

    def feature_map(self, x: Tensor) -> Tensor:
        """Last feature map A (N, D, h, w) of normalised images (N, 3, H, W)."""
        return self.map_and_attention(x)[0]

    def map_and_attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Last feature map A (N, D, h, w), and the attention in 0…1, (N, 1, h', w'), of normalised images."""
        raise NotImplementedError
