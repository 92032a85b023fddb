"""The paper's comparisons (Table 5) that are not built from ResNet18: torchvision's, from scratch."""

from torch import Tensor, nn

from .base import FeatureClassifier

BASELINES = ("vgg19", "alexnet")


class Baseline(FeatureClassifier):
    """VGG19 or AlexNet.

    Several linear layers follow the last feature map, so that there is no exact heat map without a gradient.
    """

    def __init__(self, arch: str, num_classes: int):
        """Build the network.

        Args:
            arch: One of `BASELINES`.
            num_classes: Number of logits K.
        """
        import torchvision.models  # only here: an export of RCMNet does without

        super().__init__()
        network = getattr(torchvision.models, arch)(num_classes=num_classes)
        *hidden, self.fc = network.classifier
        self.body = nn.Sequential(network.features, network.avgpool, nn.Flatten(), *hidden)

    def features(self, x: Tensor) -> Tensor:
        """Input of the last linear layer (N, 4096), float32, for normalised images (N, 3, H, W)."""
        return self.body(x).float()
