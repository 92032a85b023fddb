"""`cartcls train`: split a data folder and train on it."""

import re
from collections import Counter
from enum import Enum
from math import ceil
from pathlib import Path
from typing import Annotated

import typer

from ..calibration import MAX_ERROR
from ..runtime.bundle.provenance import epochs_of
from ..runtime.errors import InterruptedRun
from .freeze import ALL, NONE
from .usage import check_boxes, check_freeze, stages_of

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # as in `cartcls.cli.main`
    help="Split labelled cells, and train a model on them.",
)


class Arch(str, Enum):
    """The paper's model, its ablations (Table 4), comparisons (Table 5), two of other papers, and ensemble members."""

    rcmnet = "rcmnet"
    resnet18 = "resnet18"
    resnet18_c = "resnet18_c"
    resnet18_m = "resnet18_m"
    vgg19 = "vgg19"
    alexnet = "alexnet"
    apl_sa = "apl_sa"
    marzahl = "marzahl"
    efficientnet_lite0 = "efficientnet_lite0"
    efficientnet_lite2 = "efficientnet_lite2"


DataDir = Annotated[
    Path, typer.Argument(metavar="LABELLED_DIR", help="Folder with one folder of images per class.", show_default=False)
]
SplitFile = Annotated[Path, typer.Option(help="Split file of the folder.", show_default=False)]
Epochs = Annotated[int, typer.Option(min=1, help="Epochs at --size.")]
Size = Annotated[str, typer.Option(help="Image size, WIDTHxHEIGHT.")]
Sizes = Annotated[
    str | None,
    typer.Option(help="Instead of --epochs and --size: stages SIZE:EPOCHS, as 128:12,224:3,360x363:1."),
]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="Compile each stage first: takes a minute or two, then twice as fast on a CPU."),
]
Start = Annotated[
    Path | None,
    typer.Option(
        help="Bundle or checkpoint to start from, also with other classes; of an ensemble, its member --arch."
    ),
]
Freeze = Annotated[
    str,
    typer.Option(
        metavar="all|none|STAGE",
        help="What stays as --start has it: all but the head, or the stages up to and including STAGE, such as layer3.",
    ),
]
Groups = Annotated[
    Path | None, typer.Option(help="CSV file with the columns path and patient (or slide): each stays in one part.")
]
BoxesFile = Annotated[
    Path | None, typer.Option("--boxes", help="Boxes of the cells, as `cartcls train boxes` writes them; for marzahl.")
]
BatchSize = Annotated[int, typer.Option(min=2, help="Images per step.")]


@app.command()
def split(
    data_dir: DataDir,
    out: Annotated[Path, typer.Option(help="CSV file to write.", show_default=False)],
    groups: Groups = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another split.")] = 0,
) -> None:
    """Split a data folder into fit, select, calibrate and report."""
    from ..calibration.risk import cells_to_stand
    from ..calibration.split import FEWEST, PARTS, make_split

    made = make_split(data_dir, out, groups, seed, lambda line: typer.echo(line, err=True))
    counts = Counter(made.parts.values())
    typer.echo(f"{out}: {', '.join(f'{part} {counts[part]}' for part in PARTS)} ({made.unit})", err=True)
    if few := [f"{part} {counts[part]} (needs {fewest})" for part, fewest in FEWEST.items() if counts[part] < fewest]:
        typer.echo(f"warning: too few cells for `cartcls calibrate`: {', '.join(few)}", err=True)
    enough = cells_to_stand(0, MAX_ERROR)
    if counts["calibrate"] < enough:
        typer.echo(
            f"{counts['calibrate']} in calibrate: too few to guarantee {MAX_ERROR:.0%} (at least {enough} that pass the"
            f" checks are needed, so about {ceil(enough / PARTS['calibrate'])} cells in all)",
            err=True,
        )


@app.command()
def boxes(
    data_dir: DataDir,
    out: Annotated[Path, typer.Option(help="CSV file to write.", show_default=False)],
    split: Annotated[
        Path | None, typer.Option(help="Split file of the folder: the cells of fit and select alone.")
    ] = None,
) -> None:
    """Find the box of the cell or platelet in each crop.

    Crops with none in the middle are named and left out.
    """
    from ..calibration.boxes import Box, find_boxes, write_boxes
    from ..calibration.split import TRAINED, check_split, list_images, read_split
    from ..runtime.bundle.bundle import load_bundle

    paths = list_images(data_dir, notify=lambda line: typer.echo(line, err=True))
    if split:
        check_split(parts := read_split(split), data_dir)
        paths = sorted(path for part in TRAINED for path in parts.paths(part))
    typer.echo(f"{len(paths)} crops: looking for the cell in the middle of each", err=True)
    try:
        found = find_boxes(data_dir, paths, load_bundle().home_scale)
    except KeyboardInterrupt:
        raise InterruptedRun("nothing was written; the same command starts again") from None
    for path, reason in found.items():
        if isinstance(reason, str):
            typer.echo(f"{path}: {reason}", err=True)
    boxes = {path: box for path, box in found.items() if isinstance(box, Box)}
    write_boxes(out, boxes)
    typer.echo(f"{out}: boxes of {len(boxes)} of {len(paths)} crops", err=True)


@app.command()
def fit(
    data_dir: DataDir,
    split: SplitFile,
    out: Annotated[Path, typer.Option(help="Run folder to write.", show_default=False)],
    arch: Annotated[
        Arch,
        typer.Option(
            help="The paper's model, an ablation, a comparison, apl_sa, marzahl (needs --boxes), or an ensemble member."
        ),
    ] = Arch.rcmnet,
    epochs: Epochs = 30,
    size: Size = "360x363",
    sizes: Sizes = None,
    batch_size: BatchSize = 32,
    seed: Annotated[int, typer.Option(help="Random seed of weights, order and augmentation.")] = 0,
    start: Start = None,
    freeze: Freeze = NONE,
    boxes: BoxesFile = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint in --out.")] = False,
    compile: Compile = False,
    devices: Annotated[str, typer.Option(help="Devices per machine: a number, or auto.")] = "auto",
    num_nodes: Annotated[int, typer.Option(min=1, help="Number of machines.")] = 1,
) -> None:
    """Train a model, and choose its best checkpoint on `select`."""
    stages = stages_of(sizes, size, epochs)
    check_freeze(arch.value, start, freeze)
    check_boxes(arch.value, boxes)
    typer.echo(f"{arch.value}, epochs {epochs_of(stages)}: loading PyTorch", err=True)
    try:
        from . import training

        settings = training.TrainingSettings(stages, arch.value, batch_size, seed, start, freeze, compile, boxes)
        metrics = training.fit(
            data_dir, split, out, settings, resume, int(devices) if devices.isdecimal() else devices, num_nodes
        )
    except KeyboardInterrupt:
        raise InterruptedRun(_how_to_go_on(out)) from None
    if metrics:
        low, high = metrics.top1_interval
        typer.echo(
            f"{out}: {metrics.correct} of {metrics.count} right on select ({metrics.unit}),"
            f" {metrics.top1:.2%} (95 % interval {low:.2%} to {high:.2%})"
            + (f"; weighted F1 {metrics.weighted_f1:.4f}, IoU of boxes {metrics.iou:.4f}" if metrics.iou else ""),
            err=True,
        )


@app.command("cross-validate")
def cross_validate(
    data_dir: DataDir,
    out: Annotated[Path, typer.Option(help="Folder for the figures, the runs and the model.", show_default=False)],
    folds: Annotated[int, typer.Option(min=2, help="Parts that the cells are divided into.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, each with other folds and weights.")] = 1,
    groups: Groups = None,
    arch: Annotated[Arch, typer.Option(help="As in `cartcls train fit`.")] = Arch.rcmnet,
    sizes: Annotated[str, typer.Option(help="Stages SIZE:EPOCHS.")] = "128:12,224:3,360x363:1",
    batch_size: BatchSize = 32,
    start: Start = None,
    freeze: Freeze = NONE,
    boxes: BoxesFile = None,
) -> None:
    """Measure a training by folds, then train on all cells.

    Run it again to continue where it stopped. OUT/final/last.ckpt is the model to export.
    """
    stages = stages_of(sizes, "", 0)
    check_freeze(arch.value, start, freeze)
    check_boxes(arch.value, boxes)
    typer.echo(f"{folds * seeds + 1} trainings of {arch.value}, epochs {epochs_of(stages)}: loading PyTorch", err=True)
    try:
        from .cross_validate import FINAL
        from .cross_validate import cross_validate as run
        from .training import LAST, TrainingSettings

        settings = TrainingSettings(stages, arch.value, batch_size, start=start, freeze=freeze, boxes=boxes)
        found = run(data_dir, out, settings, folds, seeds, groups)
    except KeyboardInterrupt:
        raise InterruptedRun("the same command goes on") from None
    low, high = found.metrics.top1_interval
    more = [f"weighted F1 {found.metrics.weighted_f1:.4f}"]
    more += [] if found.auc is None else [f"AUC {found.auc:.4f}"]
    more += [] if found.spread is None else [f"standard deviation over {seeds} seeds {100 * found.spread:.2f} points"]
    typer.echo(
        f"{found.metrics.correct} of {found.metrics.count} right ({found.unit}), {found.metrics.top1:.2%}"
        f" (95 % interval {low:.2%} to {high:.2%}); {', '.join(more)}\n{out / FINAL / LAST}: trained on all cells",
        err=True,
    )


@app.command()
def join(
    first: Annotated[
        Path,
        typer.Argument(
            metavar="FIRST", help="Checkpoint or bundle of rcmnet, for images of 360x363.", show_default=False
        ),
    ],
    others: Annotated[
        list[Path],
        typer.Argument(
            metavar="OTHER",
            help="Checkpoints of efficientnet_lite0 or efficientnet_lite2, at half the width and height.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Run folder to make.", show_default=False)],
) -> None:
    """Join models to an ensemble: the mean of their answers.

    Export it like any other model.
    """
    from .join import join as run

    typer.echo(f"{run(first, others, out)} has {1 + len(others)} members", err=True)


@app.command()
def table5(
    data_dir: DataDir,
    split: SplitFile,
    out: Annotated[Path, typer.Option(help="Folder for the runs and the table.", show_default=False)],
    epochs: Epochs = 30,
    size: Size = "360x363",
    sizes: Sizes = None,
    batch_size: BatchSize = 32,
    seeds: Annotated[str, typer.Option(help="One training of each model per seed, as 0,1,2.")] = "0",
    compile: Compile = False,
) -> None:
    """Train all models of the paper's Table 5 alike.

    Run it again to continue where it stopped.
    """
    stages = stages_of(sizes, size, epochs)
    if not re.fullmatch(r"[0-9]+(,[0-9]+)*", seeds):
        raise typer.BadParameter(f"{seeds!r} is not a list of seeds: write 0,1,2", param_hint="--seeds")
    typer.echo(f"six models, epochs {epochs_of(stages)}: loading PyTorch", err=True)
    try:
        from .table5 import train_table
        from .training import TrainingSettings

        settings = TrainingSettings(stages, batch_size=batch_size, compile=compile)
        train_table(data_dir, split, out, settings, sorted({int(seed) for seed in seeds.split(",")}))
    except KeyboardInterrupt:
        raise InterruptedRun("the same command goes on") from None
    typer.echo((out / "table5.md").read_text(encoding="utf-8"))


@app.command()
def tables67(
    data_dir: DataDir,
    out: Annotated[Path, typer.Option(help="Folder for the runs and the tables.", show_default=False)],
    pretrained: Annotated[
        Path | None,
        typer.Option(help="Folder that `cartcls train table5` made of other cells, for Table 7; else Table 6 alone."),
    ] = None,
    adapted: Annotated[
        Path | None, typer.Option(help="Bundle that `cartcls adapt` made of LABELLED_DIR, for its row in Table 7.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts that the cells are divided into.")] = 5,
    vgg19_folds: Annotated[int, typer.Option(min=1, help="Folds of VGG19, which takes longest.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each model and fold, with other weights.")] = 1,
    sizes: Annotated[str, typer.Option(help="Stages SIZE:EPOCHS.")] = "64:16,96:4",
    batch_size: BatchSize = 32,
    fine_tune: Annotated[
        bool, typer.Option("--fine-tune", help="Train all weights in Table 7; in the paper, the head alone.")
    ] = False,
) -> None:
    """Cross-validate all models of the paper's Tables 6 and 7.

    Table 6 is from scratch, Table 7 after transfer. Run it again to continue where it stopped, also with more seeds or
    folds of VGG19.
    """
    stages = stages_of(sizes, "", 0)
    if adapted and not pretrained:
        raise typer.BadParameter("it is a row of Table 7: give --pretrained", param_hint="--adapted")
    typer.echo(f"six models, {folds} folds, epochs {epochs_of(stages)}: loading PyTorch", err=True)
    try:
        from .tables67 import Extent, write_tables
        from .training import TrainingSettings

        settings = TrainingSettings(stages, batch_size=batch_size, freeze=NONE if fine_tune else ALL)
        text = write_tables(data_dir, out, settings, Extent(folds, vgg19_folds, seeds), pretrained, adapted)
    except KeyboardInterrupt:
        raise InterruptedRun("the same command goes on") from None
    typer.echo(text, nl=False)


def _how_to_go_on(out: Path) -> str:
    """How to go on with an interrupted training."""
    from .training import LAST, read_run

    if not (out / LAST).exists():
        return "before the end of the first epoch; the same command starts again"
    return f"go on after the last whole epoch with: {read_run(out).command.replace(' --resume', '')} --resume"
