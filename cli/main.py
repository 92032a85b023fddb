"""Commands: each reads its options, calls one function and shows the result."""

import json
import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ..runtime.console import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNREADABLE
from ..runtime.errors import OutputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Classify single blood cells and write reports with heat maps. For research use only.\n\n"
    "The shipped model knows eight classes of normal peripheral blood (May Grünwald-Giemsa). It has no CAR-T"
    " class: a laboratory trains one on its own cells with `python -m cartcls.train`.",
)


class BackendName(str, Enum):
    """Backends that can be asked for."""

    auto = "auto"
    tensorrt = "tensorrt"
    cuda = "cuda"
    openvino = "openvino"


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and stop.", is_eager=True, callback=lambda on: _version(on)),
    ] = False,
) -> None:
    pass


@app.command()
def batch(
    slide_dirs: Annotated[
        list[Path],
        typer.Argument(metavar="SLIDE_DIR...", help="Folders of cell crops, one for each slide.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the reports; never searched for images.")] = Path(
        "cartcls-reports"
    ),
    bundle: Annotated[Path | None, typer.Option(help="Bundle to use.", show_default="the shipped rcmnet-pbc8")] = None,
    backend: Annotated[BackendName, typer.Option(help="What runs the model.")] = BackendName.auto,
    no_build: Annotated[
        bool,
        typer.Option("--no-build", help="Build no TensorRT engine where none fits: take another backend, or fail."),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew; what is in --out is moved to a folder in it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summaries as JSON.")] = False,
) -> None:
    """Classify slides: a table, a page and thumbnails for each.

    Images are JPEG, PNG, BMP or TIFF, one cell each, at any depth below SLIDE_DIR. Run again, it classifies what is
    new, was changed, or could not be read. The exit code is 3 where some could not be read: each has its row with the
    reason.
    """
    from ..runtime.bundle.bundle import SHIPPED, load_bundle
    from ..runtime.images.discover import slide_name
    from ..runtime.inference.choose import open_backend
    from ..runtime.ledger.folder import open_ledger
    from ..runtime.slides.batch import check_slide, classify_slide
    from . import show

    for slide_dir in slide_dirs:
        check_slide(slide_dir, out)
    loaded = load_bundle(bundle or SHIPPED)
    with show.engine_progress() as engine_progress:
        running = open_backend(loaded, backend.value, show.tell, engine_progress, build=not no_build)
    show.started(loaded, running)
    summaries = []
    try:
        with open_ledger(out, loaded, fresh) as ledger:
            for slide_dir in slide_dirs:
                with show.progress(slide_name(slide_dir)) as progress:
                    directory, summary = classify_slide(slide_dir, out, loaded, running, ledger, progress, show.tell)
                summaries.append({**msgspec.to_builtins(summary), "report": str(directory)})
                if not as_json:
                    show.finished(directory, summary)
    except KeyboardInterrupt:
        show.interrupted(len(summaries), len(slide_dirs))
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        running.close()
        if as_json:
            typer.echo(json.dumps(summaries, indent=2))
    if any(summary["status"]["rejected"] for summary in summaries):
        raise typer.Exit(EXIT_UNREADABLE)


@app.command()
def watch(
    capture_dir: Annotated[Path, typer.Argument(help="Folder that the microscope writes to.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the reports; never searched for images.")] = Path(
        "cartcls-reports"
    ),
    slide_level: Annotated[int, typer.Option(min=1, help="How deep the folders lie that are a slide each.")] = 1,
    poll: Annotated[
        float,
        typer.Option(parser=lambda text: _seconds(text), metavar="SECONDS", help="Time between two looks, at least."),
    ] = 1.0,
    quiet: Annotated[
        float,
        typer.Option(
            parser=lambda text: _seconds(text),
            metavar="SECONDS",
            help="Time for a file to come to rest; 10 on a network share.",
        ),
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Take what is there, and end.")] = False,
    bundle: Annotated[Path | None, typer.Option(help="Bundle to use.", show_default="the shipped rcmnet-pbc8")] = None,
    backend: Annotated[BackendName, typer.Option(help="What runs the model.")] = BackendName.auto,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Build no TensorRT engine: fail (exit code 4) where none fits.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a slide's summary as a line of JSON at each change.")
    ] = False,
) -> None:
    """Watch a capture folder for weeks, and keep a report for each slide.

    Each folder in CAPTURE_DIR is a slide. Every image gets exactly one row, with the bytes that were finally there, or
    with the reason why it has no label; after a crash it goes on where it was. Stop it with Ctrl-C or SIGTERM.
    """
    from ..runtime.bundle.bundle import SHIPPED, load_bundle
    from ..runtime.inference.worker import open_in_child
    from ..runtime.ledger.folder import open_ledger
    from ..runtime.slides.batch import check_slide
    from ..runtime.slides.service import Stop, notify, run
    from ..runtime.slides.watch import AT_ONCE, Patience, Watch
    from . import show

    check_slide(capture_dir, out)
    loaded = load_bundle(bundle or SHIPPED)
    with show.engine_progress() as engine_progress:
        running = open_in_child(loaded, backend.value, show.tell, engine_progress, build=not no_build)
    show.started(loaded, running)
    show.watched(capture_dir)
    stop = Stop()
    patience = AT_ONCE if once else Patience(poll=poll, quiet=quiet)
    try:
        with open_ledger(out, loaded) as ledger, stop.on_signals(), show.watching(as_json) as (update, tell):
            watched = Watch(
                capture_dir,
                out,
                loaded,
                running,
                ledger,
                patience,
                slide_level,
                tell=tell,
                stop=stop,
                alive=lambda: notify("WATCHDOG=1"),
            )
            run(watched, stop, update, once)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror or error}") from None
    finally:
        running.close()
    if once and any(slide.summary and slide.summary.status["rejected"] for slide in watched.slides):
        raise typer.Exit(EXIT_UNREADABLE)


@app.command()
def evaluate(
    labelled_dir: Annotated[
        Path, typer.Argument(help="Folder with one folder of images per class.", show_default=False)
    ],
    split: Annotated[Path | None, typer.Option(help="Split of that folder, to take only --part of it.")] = None,
    part: Annotated[str, typer.Option(help="Part of --split: fit, select, calibrate or report.")] = "select",
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("cartcls-evaluation"),
    bundle: Annotated[Path | None, typer.Option(help="Bundle to use.", show_default="the shipped rcmnet-pbc8")] = None,
    backend: Annotated[BackendName, typer.Option(help="What runs the model.")] = BackendName.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Count how often a bundle is right on labelled cells, and show its mistakes.

    The exit code is 3 where some images could not be read: they are listed, and not in the figures.
    """
    from ..calibration.evaluate import MISTAKES
    from ..calibration.evaluate import evaluate as run
    from ..calibration.split import choose_part
    from ..runtime.bundle.bundle import SHIPPED, load_bundle
    from ..runtime.inference.choose import open_backend
    from . import show

    paths, chosen = choose_part(labelled_dir, split, part)
    loaded = load_bundle(bundle or SHIPPED)
    with show.engine_progress() as engine_progress:
        running = open_backend(loaded, backend.value, show.tell, engine_progress)
    show.started(loaded, running)
    try:
        with show.progress(chosen) as progress:
            evaluation = run(labelled_dir, paths, chosen, out, loaded, running, progress)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        running.close()
    if as_json:
        typer.echo(json.dumps(evaluation.as_json(), indent=2))
    else:
        show.evaluated(out / MISTAKES, evaluation)
    if evaluation.unreadable:
        raise typer.Exit(EXIT_UNREADABLE)


@app.command()
def export(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CHECKPOINT|BUNDLE]",
            help="Checkpoint of `python -m cartcls.train fit`, or a bundle folder.",
            show_default="the shipped rcmnet-pbc8",
        ),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision, with float32 islands (the default).")] = False,
    fp32: Annotated[bool, typer.Option("--fp32", help="Float32.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Half precision, and a graph with 8-bit convolutions beside it.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="SM", help="Build ahead of time for other RTX GPUs: sm75, sm80, sm86, sm89, sm120 or sm121."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Bundle folder to make of a checkpoint.", show_default="the name of its run folder"),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Data folder, where it has moved since the training.")] = None,
    notice: Annotated[Path | None, typer.Option(help="Text that the training data's licence asks to be kept.")] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Open the part `report`, once per release, for the bundle's figures.")
    ] = False,
) -> None:
    """Turn a checkpoint into a bundle, and a bundle into a TensorRT engine for the GPU of this machine.

    A bundle is proven on the cells of `select`, an engine on the cells that the bundle carries. The exit code is 5
    where answers differ from the model's: then that bundle or that engine is not written. A checkpoint becomes a bundle
    also where there is no TensorRT or no GPU, and without its 8-bit graph where that alone gives other answers.
    """
    from ..runtime.bundle.bundle import SHIPPED, load_bundle
    from ..runtime.errors import NoGpuError, NotInstalledError, ParityError
    from . import show

    if fp16 + fp32 + int8 > 1:
        raise typer.BadParameter("give one precision", param_hint="--fp16, --fp32 and --int8")
    precision = "fp32" if fp32 else "int8" if int8 else "fp16"
    if target is not None and not re.fullmatch("sm[0-9]+", target):
        raise typer.BadParameter(f"{target!r} is no compute capability: write it as sm86", param_hint="--target")
    for_checkpoints = {"--out": out, "--data": data, "--notice": notice, "--report": report}
    bundle_dir = source or SHIPPED
    from_checkpoint = not bundle_dir.is_dir()
    if from_checkpoint:
        from ..export.bundle import export_bundle

        checkpoint, bundle_dir = bundle_dir, out or Path(bundle_dir.resolve().parent.name)
        proof = export_bundle(checkpoint, bundle_dir, precision, data, notice, report)
        show.exported(bundle_dir, proof)
        if int8 and not proof.has_int8:
            raise ParityError(f"the 8-bit graph gives other answers than the model: {bundle_dir} was made without it")
    elif misplaced := [name for name, value in for_checkpoints.items() if value]:
        raise typer.BadParameter("this is for a checkpoint, not for a bundle", param_hint=", ".join(misplaced))
    from ..export.engine import export_engine

    try:
        with show.engine_progress() as progress:
            made = export_engine(load_bundle(bundle_dir), precision, target, progress)
    except (NotInstalledError, NoGpuError) as error:
        if not from_checkpoint and isinstance(error, NoGpuError):
            raise
        show.tell(f"no engine: {error}")
        raise typer.Exit(0 if from_checkpoint else EXIT_FAILED) from None
    else:
        show.engine_exported(made)


@app.command()
def doctor(
    capture_dir: Annotated[
        Path | None, typer.Argument(help="Folder that the microscope writes to.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the reports.")] = Path("cartcls-reports"),
    bundle: Annotated[Path | None, typer.Option(help="Bundle to use.", show_default="the shipped rcmnet-pbc8")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look at this machine the way a run would: what works, what is missing, and what to do about it."""
    from dataclasses import asdict

    from ..runtime.bundle.bundle import SHIPPED
    from ..runtime.doctor import examine
    from . import show

    findings = examine(bundle or SHIPPED, capture_dir, out)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        show.findings(findings)
    if any(finding.level == "failure" for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def _seconds(text: str | float) -> float:
    """Read a time such as 2, 0.5 or 2s; a default comes as a number."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+) ?s?", str(text).strip())
    if not found or float(found[1]) < 0.1:
        raise typer.BadParameter(f"{text!r} is no time of at least 0.1 s: write seconds, such as 2 or 2s")
    return float(found[1])


def _version(on: bool) -> None:
    if on:
        from importlib.metadata import version

        typer.echo(f"cartcls {version('cartcls')}")
        raise typer.Exit
