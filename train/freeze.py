"""Stages of each architecture, from the image to the head: which stay fixed, and how fast the others change.

This module does without PyTorch, so that a wrong `--freeze` is told at once.
"""

NONE, ALL = "none", "all"
RATE_DECAY = 0.7  # of the learning rate per stage, from the head to the image

Stages = dict[str, tuple[str, ...]]

_RESNET: Stages = {"stem": ("conv1.", "bn1."), **{f"layer{number}": (f"layer{number}.",) for number in range(1, 5)}}
_MARZAHL: Stages = {stage: tuple(f"body.{prefix}" for prefix in prefixes) for stage, prefixes in _RESNET.items()}
_EFFICIENTNET: Stages = {
    "stem": ("body.conv_stem.", "body.bn1."),
    **{f"layer{number}": (f"body.blocks.{number - 1}.",) for number in range(1, 8)},
    "conv_head": ("body.conv_head.", "body.bn2."),
}


def _baseline(convolutions: tuple[tuple[int, ...], ...], hidden: tuple[int, int]) -> Stages:
    """Places of the convolutions in `features` of torchvision, and of the linear layers behind them in `Baseline`."""
    layers = {
        f"layer{number}": tuple(f"body.0.{place}." for place in places) for number, places in enumerate(convolutions, 1)
    }
    return {**layers, **{f"hidden{number}": (f"body.{place}.",) for number, place in enumerate(hidden, 1)}}


STAGES: dict[str, Stages] = {
    "rcmnet": {**_RESNET, "bot": ("bot.",)},
    "resnet18": _RESNET,
    "resnet18_c": _RESNET,
    "resnet18_m": {**_RESNET, "bot": ("bot.",)},
    "vgg19": _baseline(((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28, 30, 32, 34)), (3, 6)),
    "alexnet": _baseline(((0,), (3,), (6,), (8,), (10,)), (4, 7)),
    "apl_sa": {**_RESNET, "layer4": ("attention.", "layer4.")},
    "marzahl": _MARZAHL,
    "efficientnet_lite0": _EFFICIENTNET,
    "efficientnet_lite2": _EFFICIENTNET,
}
"""How the names of weights begin, by stage and architecture; the heads belong to none."""


def frozen_prefixes(arch: str, freeze: str) -> tuple[str, ...]:
    """How the names of weights that stay fixed begin.

    Args:
        arch: Architecture.
        freeze: `none`, `all`, or the last stage that stays fixed.

    Raises:
        ValueError: The architecture has no such stage.
    """
    stages = STAGES[arch]
    names = {NONE: 0, **{name: place for place, name in enumerate(stages, 1)}, ALL: len(stages)}
    if freeze not in names:
        raise ValueError(f"{arch} has no stage {freeze!r}: name {', '.join(stages)}, {ALL} or {NONE}")
    return tuple(prefix for prefixes in list(stages.values())[: names[freeze]] for prefix in prefixes)


def stages_above(arch: str, name: str) -> int:
    """Number of stages between a weight and the end of the network; the head itself has 0, and the last stage 1."""
    stages = list(STAGES[arch].values())
    return next((len(stages) - place for place, prefixes in enumerate(stages) if name.startswith(prefixes)), 0)
