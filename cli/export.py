"""The command that makes bundles from checkpoints, and TensorRT engines from bundles."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .main import app

if TYPE_CHECKING:
    from ..runtime.inference.engine_store import Precision


def _compute_capability(text: str) -> str:
    if not re.fullmatch("sm[0-9]+", text):
        raise typer.BadParameter(f"{text!r} is not a compute capability: write it as sm86")
    return text


Target = Annotated[
    str | None,
    typer.Option(
        parser=_compute_capability,
        metavar="SM",
        help="Build ahead of time for other RTX GPUs: sm75, sm80, sm86, sm89, sm120 or sm121.",
    ),
]


@app.command()
def export(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="CHECKPOINT|BUNDLE",
            help="Checkpoint of `cartcls train`, or a bundle folder.",
            show_default="the shipped rcmnet-pbc8",
        ),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision, partly float32 (the default).")] = False,
    fp32: Annotated[bool, typer.Option("--fp32", help="Float32.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Half precision, and a graph with 8-bit convolutions beside it.")
    ] = False,
    target: Target = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Bundle folder to make of a checkpoint.", show_default="the name of its run folder"),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Data folder, if it has moved since the training.")] = None,
    notice: Annotated[Path | None, typer.Option(help="Text file to include, as the data's licence asks.")] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Use the part `report`, once per release, for the bundle's figures.")
    ] = False,
) -> None:
    """Make a bundle of a checkpoint, and an engine of a bundle.

    The engine is TensorRT's, for the GPU of this machine. Parity is checked for a bundle on the cells of `select`, for
    an engine on the cells in the bundle. If answers differ from the model's, the exit code is 5, and that bundle or
    that engine is not written. A checkpoint becomes a bundle also without TensorRT or a GPU, and without its 8-bit
    graph if that alone gives other answers.
    """
    from ..runtime.bundle.bundle import SHIPPED
    from ..runtime.errors import DataError, NoGpuError, NotInstalledError
    from ..runtime.files import why_away
    from . import show

    precision = _precision(fp16, fp32, int8)
    if source is not None and (reason := why_away(source)):
        raise DataError(f"{source} cannot be reached: {reason}")
    if source is None or source.is_dir():
        _refuse_for_bundle({"--out": out, "--data": data, "--notice": notice, "--report": report})
        _export_engine(source or SHIPPED, precision, target)
        return
    if not source.exists():
        raise DataError(f"{source} does not exist: name a checkpoint such as RUN_DIR/best.ckpt, or a bundle folder")
    bundle_dir = out or Path(source.resolve().parent.name)
    _export_bundle(source, bundle_dir, precision, data, notice, report)
    try:
        _export_engine(bundle_dir, precision, target)
    except (NotInstalledError, NoGpuError) as error:
        show.notify(f"no engine was built: {error}")


def _refuse_for_bundle(for_checkpoints: dict[str, object]) -> None:
    if misplaced := [name for name, value in for_checkpoints.items() if value]:
        raise typer.BadParameter("this is for a checkpoint, not for a bundle", param_hint=", ".join(misplaced))


def _precision(fp16: bool, fp32: bool, int8: bool) -> "Precision":
    if fp16 + fp32 + int8 > 1:
        raise typer.BadParameter("give only one precision", param_hint="--fp16, --fp32 and --int8")
    return "fp32" if fp32 else "int8" if int8 else "fp16"


def _export_bundle(
    checkpoint: Path, out: Path, precision: "Precision", data: Path | None, notice: Path | None, report: bool
) -> None:
    from ..export.bundle import export_bundle
    from ..runtime.errors import ParityError
    from . import show

    parity = export_bundle(checkpoint, out, precision, data, notice, report)
    show.exported(out, parity)
    if precision == "int8" and not parity.has_int8:
        raise ParityError(f"the 8-bit graph gives other answers than the model: {out} was made without it")


def _export_engine(bundle_dir: Path, precision: "Precision", target: str | None) -> None:
    from ..export.engine import export_engine
    from ..runtime.bundle.bundle import load_bundle
    from . import show

    with show.engine_progress() as progress:
        made = export_engine(load_bundle(bundle_dir), precision, target, progress)
    show.engine_exported(made)
