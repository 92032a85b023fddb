"""Commands: each reads its options, calls one function and shows the result."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..runtime.console import EXIT_FAILED, EXIT_UNREADABLE
from .options import (
    REPORTS,
    Backend,
    BackendName,
    Black,
    BundleDir,
    CaptureDir,
    Classes,
    Fields,
    LabelledDir,
    Mpp,
    NoBuild,
    Out,
    Poll,
    Quiet,
    White,
)

if TYPE_CHECKING:
    from ..runtime import Classifier
    from ..runtime.ledger.ledger import Ledger
    from ..runtime.reports.summary import Summary

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # Typer's own keeps line breaks within paragraphs, and gives flags a type
    help="Classify single blood cells and write reports with heat maps. For research use only.\n\n"
    "The shipped model knows eight classes of normal peripheral blood (May Grünwald-Giemsa). It has no class for"
    " blasts or CAR-T cells: a laboratory makes a model for its own cells with `cartcls adapt`.",
)


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
        typer.Argument(metavar="SLIDE_DIR", help="Folders of images, one for each slide.", show_default=False),
    ],
    out: Out = REPORTS,
    bundle: BundleDir = None,
    classes: Classes = None,
    fields: Fields = False,
    mpp: Mpp = None,
    cells: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="NUMBER",
            help="Stop at the end of the field with this leukocyte of the slide, as 200 (for a finding: cell).",
            show_default="all fields",
        ),
    ] = None,
    black: Black = 0,
    white: White = 65535,
    backend: Backend = BackendName.auto,
    no_build: NoBuild = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Start these slides anew; their reports are moved to a folder in --out."),
    ] = False,
    each: Annotated[bool, typer.Option("--each", help="Every folder in SLIDE_DIR is a slide.")] = False,
    one_slide: Annotated[
        bool, typer.Option("--one-slide", help="Folders side by side in SLIDE_DIR are parts of one slide.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summaries as JSON.")] = False,
) -> None:
    """Classify slides: a table, a page and thumbnails for each.

    Images are JPEG, PNG, BMP, TIFF or WebP, one cell each, or whole fields with --fields, at any depth below
    SLIDE_DIR. Where they lie in folders
    side by side, --each or --one-slide says what these are. A second run classifies what is new, has changed, or could
    not be read. The exit code is 3 if some could not be read: each has a row with the reason. A slide that is refused
    leaves its report as it is; the others go on, and the exit code is 1.
    """
    from ..runtime.bundle.bundle import SHIPPED, load_bundle
    from ..runtime.bundle.restricted import restricted
    from ..runtime.errors import InterruptedRun, OutputError
    from ..runtime.images.levels import Levels
    from ..runtime.ledger.folder import open_ledger
    from ..runtime.slides.choose import choose_slides
    from . import show
    from .loading import open_classifier, search_of

    levels, search = Levels(black, white), search_of(fields, mpp)
    slide_dirs = choose_slides(slide_dirs, out, one_slide, each, show.notify)
    summaries: dict[Path, Summary] = {}
    chosen = restricted(load_bundle(bundle or SHIPPED), classes.split(",")) if classes is not None else bundle
    with open_classifier(chosen, backend.value, build=not no_build, levels=levels, fields=search) as classifier:
        try:
            with open_ledger(out, classifier.bundle, slide_dirs if fresh else ()) as ledger:
                refused = _classify(slide_dirs, out, classifier, ledger, summaries, as_json, cells)
        except KeyboardInterrupt:
            way = "the same command without --fresh" if fresh else "the same command"
            raise InterruptedRun(
                f"{len(summaries)} of {len(slide_dirs)} slides are done; {way} continues from here"
            ) from None
        finally:
            if as_json:
                shown = [
                    {**msgspec.to_builtins(found), "report": str(directory)} for directory, found in summaries.items()
                ]
                typer.echo(json.dumps(shown, indent=2))
    if refused:
        raise OutputError(f"{len(refused)} of {len(slide_dirs)} slides were refused (see above): {', '.join(refused)}")
    if any(summary.status["rejected"] for summary in summaries.values()):
        raise typer.Exit(EXIT_UNREADABLE)


def _classify(
    slide_dirs: list[Path],
    out: Path,
    classifier: "Classifier",
    ledger: "Ledger",
    summaries: "dict[Path, Summary]",
    as_json: bool,
    leukocytes: int | None,
) -> list[str]:
    """Classify slides one by one, and show and keep their summaries by the folders of their reports.

    Returns:
        The slides that were refused. One that is alone is an error.
    """
    from ..runtime.errors import SlideError
    from ..runtime.images.discover import slide_name
    from ..runtime.slides.batch import classify_slide
    from . import show

    refused: list[str] = []
    for slide_dir in slide_dirs:
        try:
            with show.progress(slide_name(slide_dir), classifier.fields is not None) as progress:
                directory, summary = classify_slide(
                    slide_dir, out, classifier, ledger, progress, show.notify, leukocytes
                )
        except SlideError as error:
            if len(slide_dirs) == 1:
                raise
            show.notify(f"error: {error}")
            refused.append(str(slide_dir))
            continue
        if not as_json and not summaries:
            show.unknown_cells(classifier.bundle)
        summaries[directory] = summary
        if not as_json:
            show.finished(directory, summary)
    return refused


@app.command()
def watch(
    capture_dir: CaptureDir,
    out: Out = REPORTS,
    slide_level: Annotated[int, typer.Option(min=1, help="Depth of the folders that are one slide each.")] = 1,
    poll: Poll = 1.0,
    quiet: Quiet = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Classify what is there, and exit.")] = False,
    bundle: BundleDir = None,
    fields: Fields = False,
    mpp: Mpp = None,
    black: Black = 0,
    white: White = 65535,
    backend: Backend = BackendName.auto,
    no_build: NoBuild = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a slide's summary as a line of JSON at each change.")
    ] = False,
) -> None:
    """Watch a capture folder, and keep a report for each slide.

    It runs for weeks. Each folder in CAPTURE_DIR is a slide. Every image gets exactly one row: for its final content,
    or with the reason why it has no label. After a crash, start it again: it continues where it stopped. Stop it with
    Ctrl-C or SIGTERM.
    """
    from ..runtime.files import writing
    from ..runtime.images.levels import Levels
    from ..runtime.ledger.folder import open_ledger
    from ..runtime.slides.batch import check_slide, name_rejected
    from ..runtime.slides.service import Stop, notify_systemd, run
    from ..runtime.slides.watch import AT_ONCE, Watch, WatchTimings
    from . import show_watch
    from .loading import open_classifier, search_of

    check_slide(capture_dir, out, may_be_away=True)
    levels, search = Levels(black, white), search_of(fields, mpp)
    timings, stop = AT_ONCE if once else WatchTimings(poll=poll, quiet=quiet), Stop()
    with (
        open_classifier(
            bundle, backend.value, build=not no_build, in_worker=True, levels=levels, fields=search
        ) as classifier,
        writing(out),
    ):
        show_watch.watched(capture_dir, out, classifier.bundle)
        with (
            open_ledger(out, classifier.bundle, command="watch") as ledger,
            stop.on_signals(),
            show_watch.watching(as_json) as (update, notify),
        ):
            watched = Watch(
                capture_dir,
                out,
                classifier,
                ledger,
                timings,
                slide_level,
                notify=notify,
                stop=stop,
                alive=lambda: notify_systemd("WATCHDOG=1"),
            )
            run(watched, stop, update, once)
            for slide in watched.slides if once else ():
                name_rejected(slide.work.ledger, notify)
        if stop():
            show_watch.stopped(watched, out)
    rejected = any(slide.summary and slide.summary.status["rejected"] for slide in watched.slides)
    if once and (rejected or watched.unlisted):
        raise typer.Exit(EXIT_UNREADABLE)


@app.command()
def evaluate(
    labelled_dir: LabelledDir,
    split: Annotated[Path | None, typer.Option(help="Split file of that folder, to use only --part of it.")] = None,
    part: Annotated[str, typer.Option(help="Part of --split: fit, select, calibrate or report.")] = "select",
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("cartcls-evaluation"),
    bundle: BundleDir = None,
    backend: Backend = BackendName.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Count and show a bundle's mistakes on labelled cells.

    The exit code is 3 if some images could not be read: they are listed, and not in the figures.
    """
    from ..calibration.evaluate import MISTAKES
    from ..calibration.evaluate import evaluate as run
    from ..calibration.split import choose_part
    from . import show
    from .loading import open_classifier

    paths, chosen = choose_part(labelled_dir, split, part, show.notify)
    with open_classifier(bundle, backend.value) as classifier, show.progress(chosen) as progress:
        evaluation = run(labelled_dir, paths, chosen, out, classifier, progress)
    if as_json:
        typer.echo(json.dumps(evaluation.as_json(), indent=2))
    else:
        show.evaluated(out / MISTAKES, evaluation)
    if evaluation.unreadable:
        raise typer.Exit(EXIT_UNREADABLE)


@app.command()
def doctor(
    capture_dir: Annotated[
        Path | None,
        typer.Argument(metavar="CAPTURE_DIR", help="Folder that the microscope writes to.", show_default=False),
    ] = None,
    out: Out = REPORTS,
    bundle: BundleDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check what works here, what is missing, how to fix it."""
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


def _version(on: bool) -> None:
    if on:
        from importlib.metadata import version

        typer.echo(f"cartcls {version('cartcls')}")
        raise typer.Exit
