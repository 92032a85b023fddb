"""The graph that ships: what a bundle's `model.onnx` computes, from uint8 pixels to logits and what explains them."""

import copy
from functools import reduce
from itertools import accumulate, pairwise
from operator import add
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.bundle.manifest import Further
from ..train.models.base import AttentionClassifier, FeatureClassifier, MapClassifier, means, normalize
from ..train.models.marzahl import Marzahl, within_picture


class Graph(nn.Module):
    """A trained model with normalisation before it: uint8 RGB images (N, H, W, 3) to float32 `outputs`."""

    outputs = ("logits", "features")

    def __init__(self, model: FeatureClassifier, half: bool):
        """Wrap a copy of a model.

        Args:
            model: Trained model, float32.
            half: Whether everything between normalisation and features is float16; attention logits and softmax
                stay float32 in any case.
        """
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.fc = copy.deepcopy(model.fc).float()
        self.dtype = torch.float16 if half else torch.float32
        self.model.to(self.dtype)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Logits (N, K) and features (N, D)."""
        features = self.model.features(normalize(image).to(self.dtype))
        return self.fc(features), features


class GraphWithMaps(Graph):
    """A graph that gives class activation maps beside its logits.

    With S_k the logit of class k and A the last feature map of Z positions, the Grad-CAM weights of the
    paper's equation 7 are exactly α_c = w_kc / Z, because the head is one linear layer on the mean of A. So
    equation 8 before its ReLU is Σ_c w_kc·A_c / Z: one matrix product, no gradient. It follows that the sum
    of a map plus the bias is the logit. Several maps are added, at the size of the first one.

    The features are those of `MapClassifier.all_maps`. The trained head has weight 0 for those of inner stages.
    """

    outputs = ("logits", "cams", "features")

    def __init__(self, model: MapClassifier, half: bool):
        """Wrap a copy of a model; see `Graph`."""
        super().__init__(model, half)
        self.all_maps = cast(MapClassifier, self.model).all_maps
        self.fc.weight = nn.Parameter(F.pad(self.fc.weight, (0, model.inner_channels)))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Logits (N, K), cams (N, K, h, w) and features (N, D)."""
        return self.of_maps(self.all_maps(normalize(image).to(self.dtype)))

    def of_maps(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The same of feature maps A (N, D_i, h_i, w_i)."""
        features = means(maps)
        size = maps[0].shape[2:]
        weights = self.fc.weight / size.numel()  # (K, D)
        ends = accumulate((found.shape[1] for found in maps), initial=0)
        cams = [
            resized(self.evidence(weights[:, begin:end], found.float()), size)
            for (begin, end), found in zip(pairwise(ends), maps, strict=True)
        ]
        return self.fc(features), reduce(add, cams), features

    def evidence(self, weights: Tensor, found: Tensor) -> Tensor:
        """Maps (N, K, h, w) of weights (K, D) and a feature map (N, D, h, w)."""
        _, channels, height, width = found.shape
        cams = weights @ found.reshape(-1, channels, height * width)
        return cams.reshape(-1, self.fc.out_features, height, width)


def resized(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps (N, K, h', w') at another size h × w, each with the mean that it had."""
    if maps.shape[2:] == size:
        return maps
    rows, columns = (
        resizing(found, length).to(maps.device) for found, length in zip(maps.shape[2:], size, strict=True)
    )
    return rows @ maps @ columns.T


def resizing(found: int, length: int) -> Tensor:
    """Matrix (length, found) that resizes a line and keeps its mean: linear to twice its length, then by overlap."""
    twice = F.interpolate(torch.eye(found)[None], scale_factor=2.0, mode="linear")[0].T  # (2·found, found)
    starts, ends = (torch.arange(length)[:, None] + end for end in (0, 1))
    parts = torch.arange(2 * found + 1)[None] * (length / (2 * found))
    overlap = (torch.minimum(ends, parts[:, 1:]) - torch.maximum(starts, parts[:, :-1])).clamp(min=0)
    return overlap @ twice


class GraphWithAttention(GraphWithMaps):
    """A graph that also gives the spatial attention by which the network weighs positions."""

    outputs = ("logits", "cams", "features", "attention")

    def __init__(self, model: AttentionClassifier, half: bool):
        """Wrap a copy of a model; see `Graph`."""
        super().__init__(model, half)
        self.map_and_attention = cast(AttentionClassifier, self.model).map_and_attention

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Logits (N, K), cams (N, K, h, w), features (N, D) and attention in 0…1 (N, 1, h', w')."""
        last_map, attention = self.map_and_attention(normalize(image).to(self.dtype))
        return *self.of_maps([last_map]), attention.float()


class GraphWithBoxes(Graph):
    """A graph that also gives the box of the cell, in shares of the picture. All after the body is float32."""

    outputs = ("logits", "features", "boxes")

    def __init__(self, model: Marzahl, half: bool):
        """Wrap a copy of a model; see `Graph`."""
        super().__init__(model, half)
        copied = cast(Marzahl, self.model)
        copied.hidden.float()
        copied.box.float()
        self.features_and_box = copied.features_and_box

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Logits (N, K), features (N, D), and boxes (N, 4): upper left corner, width and height, within the picture."""
        features, boxes = self.features_and_box(normalize(image).to(self.dtype))
        return self.fc(features), features, within_picture(boxes)


def graph_of(model: FeatureClassifier, half: bool) -> Graph:
    """Wrap a model in the graph that ships: with maps where its head allows them exactly, attention and boxes."""
    if isinstance(model, Marzahl):
        return GraphWithBoxes(model, half)
    if isinstance(model, AttentionClassifier):
        return GraphWithAttention(model, half)
    return GraphWithMaps(model, half) if isinstance(model, MapClassifier) else Graph(model, half)


def further_outputs(model: FeatureClassifier) -> tuple[Further, ...]:
    """What the graph of a model gives beside logits, features and heat maps."""
    if isinstance(model, Marzahl):
        return ("boxes",)
    return ("attention",) if isinstance(model, AttentionClassifier) else ()
