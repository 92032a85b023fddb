"""The graph that ships: what a bundle's `model.onnx` computes, from uint8 pixels to logits and heat maps."""

import copy

import torch
from torch import Tensor, nn

from ..train.model import RCMNet, normalize

OUTPUTS = ("logits", "cams", "features")


class Graph(nn.Module):
    """A trained model with normalisation before it and class activation maps beside its logits.

    With S_k the logit of class k and A the last feature map of Z positions, the Grad-CAM weights of the
    paper's equation 7 are exactly α_c = w_kc / Z, because the head is one linear layer on the mean of A. So
    equation 8 before its ReLU is Σ_c w_kc·A_c / Z: one matrix product, no gradient. It follows that the sum
    of a map plus the bias is the logit.
    """

    def __init__(self, model: RCMNet, half: bool):
        """Wrap a copy of a model.

        Args:
            model: Trained model, float32.
            half: Whether everything between normalisation and pooling is float16; attention logits and
                softmax stay float32 in any case.
        """
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.fc = copy.deepcopy(model.fc).float()
        self.dtype = torch.float16 if half else torch.float32
        self.model.to(self.dtype)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Classify uint8 RGB images (N, H, W, 3).

        Returns:
            logits (N, K), cams (N, K, h, w) and features (N, 512), all float32.
        """
        last_map = self.model.feature_map(normalize(image).to(self.dtype)).float()  # (N, 512, h, w)
        features = last_map.mean((2, 3))
        _, channels, height, width = last_map.shape
        weights = self.fc.weight / (height * width)  # (K, 512)
        cams = weights @ last_map.reshape(-1, channels, height * width)
        return self.fc(features), cams.reshape(-1, self.fc.out_features, height, width), features
