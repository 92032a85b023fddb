"""All models by name."""

from collections.abc import Callable
from typing import cast

from .apl_sa import APL_SA, AplSa
from .base import STRIDE, FeatureClassifier, NetworkWithMap
from .baselines import BASELINES, Baseline
from .efficientnet import EFFICIENTNETS, EfficientNetLite
from .ensemble import PLUS, Ensemble, first_size
from .marzahl import MARZAHL, Marzahl
from .rcmnet import ARCHITECTURES, RCMNet


def build(arch: str, num_classes: int, image_size: tuple[int, int]) -> FeatureClassifier:
    """Build a model.

    Args:
        arch: One of `MODELS`, or those of an ensemble's members, `rcmnet+NAME[+NAME]`.
        num_classes: Number of logits K.
        image_size: Width and height in pixels of the images that it is for; sets the size of the
            relative-position tables.
    """
    first, *others = arch.split(PLUS)
    if not others:
        return MODELS[arch](arch, num_classes, image_size)
    members = [MODELS[first](first, num_classes, first_size(image_size))]
    members += [MODELS[name](name, num_classes, image_size) for name in others]
    return Ensemble(cast(list[NetworkWithMap], members))


def _rcmnet(arch: str, num_classes: int, image_size: tuple[int, int]) -> RCMNet:
    width, height = image_size
    return RCMNet(num_classes, map_size=(-(-height // STRIDE), -(-width // STRIDE)), **ARCHITECTURES[arch])


MODELS: dict[str, Callable[[str, int, tuple[int, int]], FeatureClassifier]] = {
    **dict.fromkeys(ARCHITECTURES, _rcmnet),
    **dict.fromkeys(BASELINES, lambda arch, num_classes, _: Baseline(arch, num_classes)),
    APL_SA: lambda arch, num_classes, _: AplSa(num_classes),
    MARZAHL: lambda arch, num_classes, _: Marzahl(num_classes),
    **dict.fromkeys(EFFICIENTNETS, lambda arch, num_classes, _: EfficientNetLite(arch, num_classes)),
}
