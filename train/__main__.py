"""`python -m cartcls.train`: split a data folder and train on it."""

from collections import Counter
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..runtime import console
from ..runtime.preprocess import parse_size

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Split a folder of labelled cells, and train a model on it.",
)


class Arch(str, Enum):
    """The paper's model, its ablations (Table 4) and comparisons (Table 5)."""

    rcmnet = "rcmnet"
    resnet18 = "resnet18"
    resnet18_c = "resnet18_c"
    resnet18_m = "resnet18_m"
    vgg19 = "vgg19"
    alexnet = "alexnet"


DataDir = Annotated[Path, typer.Argument(help="Folder with one folder of images per class.", show_default=False)]


@app.command()
def split(
    data_dir: DataDir,
    out: Annotated[Path, typer.Option(help="CSV file to write.", show_default=False)],
    groups: Annotated[
        Path | None,
        typer.Option(help="CSV file with the columns path and patient (or slide): each stays in one part."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another split.")] = 0,
) -> None:
    """Split a data folder into the parts fit, select, calibrate and report."""
    from .split import make_split

    made = make_split(data_dir, out, groups, seed)
    counts = Counter(made.parts.values())
    typer.echo(f"{out}: {', '.join(f'{part} {count}' for part, count in counts.items())} ({made.unit})", err=True)


@app.command()
def fit(
    data_dir: DataDir,
    split: Annotated[Path, typer.Option(help="Split file that fits the folder.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Run folder to fill.", show_default=False)],
    arch: Annotated[Arch, typer.Option(help="The paper's model, an ablation or a comparison.")] = Arch.rcmnet,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs at --size.")] = 30,
    size: Annotated[str, typer.Option(help="Image size, WIDTHxHEIGHT.")] = "360x363",
    sizes: Annotated[
        str | None,
        typer.Option(help="Instead of --epochs and --size: stages SIZE:EPOCHS, as 128:12,224:3,360x363:1."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Images per step.")] = 32,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    devices: Annotated[str, typer.Option(help="Devices per machine: a number, or auto.")] = "auto",
    num_nodes: Annotated[int, typer.Option(min=1, help="Number of machines.")] = 1,
) -> None:
    """Train a model, and choose its best checkpoint on the part `select`."""
    try:
        stages = [(parse_size(size), epochs)] if sizes is None else _parse_stages(sizes)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--sizes" if sizes else "--size") from None
    from . import training
    from .data import Stage

    metrics = training.fit(
        data_dir,
        split,
        arch.value,
        out,
        [Stage(stage_size, stage_epochs) for stage_size, stage_epochs in stages],
        batch_size,
        seed,
        resume,
        devices=int(devices) if devices.isdecimal() else devices,
        num_nodes=num_nodes,
    )
    if metrics:
        low, high = metrics["top1_interval"]
        typer.echo(
            f"{out}: {metrics['correct']} of {metrics['count']} right on select ({metrics['unit']}),"
            f" {metrics['top1']:.2%} (95 % interval {low:.2%} to {high:.2%})",
            err=True,
        )


def _parse_stages(text: str) -> list[tuple[tuple[int, int], int]]:
    stages = []
    for item in text.split(","):
        size, _, epochs = item.partition(":")
        if not epochs.isdecimal() or int(epochs) < 1:
            raise ValueError(f"{item!r} is not a stage: write SIZE:EPOCHS, as 224:3")
        stages.append((parse_size(size.strip()), int(epochs)))
    return stages


if __name__ == "__main__":
    console.run(app)
