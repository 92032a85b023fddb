"""Options of `cartcls train` that are wrong by themselves, told before PyTorch is loaded."""

from pathlib import Path

import typer

from ..runtime.bundle.provenance import Stage
from .freeze import frozen_prefixes

MARZAHL = "marzahl"  # as in `cartcls.train.models.marzahl`, which loads PyTorch


def check_boxes(arch: str, boxes: Path | None) -> None:
    """Refuse boxes for a network that has no use for them, and one that is trained on boxes without any."""
    if arch == MARZAHL and boxes is None:
        raise typer.BadParameter(
            "marzahl is trained on boxes: make them with `cartcls train boxes`", param_hint="--boxes"
        )
    if boxes and arch != MARZAHL:
        raise typer.BadParameter(f"{arch} has no use for boxes: add --arch marzahl", param_hint="--boxes")


def check_freeze(arch: str, start: Path | None, freeze: str) -> None:
    """Refuse a stage that there is not, and frozen weights that nobody has trained."""
    try:
        frozen = frozen_prefixes(arch, freeze)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--freeze") from None
    if frozen and start is None and not arch.startswith("efficientnet"):  # those start from ImageNet's weights
        raise typer.BadParameter("it keeps trained weights: name them with --start", param_hint="--freeze")


def stages_of(sizes: str | None, size: str, epochs: int) -> list[Stage]:
    """The stages that --sizes names, or the one of --size."""
    from ..runtime.images.resize import parse_size

    try:
        if sizes is None:
            return [Stage(parse_size(size), epochs)]
        return [Stage(parse_size(item.strip()), int(count)) for item, count in map(_parse_stage, sizes.split(","))]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--sizes" if sizes else "--size") from None


def _parse_stage(text: str) -> tuple[str, str]:
    size, _, epochs = text.partition(":")
    if not epochs.isdecimal() or int(epochs) < 1:
        raise ValueError(f"{text!r} is not a stage: write SIZE:EPOCHS, as 224:3")
    return size, epochs
