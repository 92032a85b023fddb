"""Commands for archives: thousands of slides, on as many machines as there are."""

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ..runtime.console import EXIT_UNREADABLE
from .main import app
from .options import Backend, BackendName, BundleDir


@app.command()
def archive(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Folders, or URIs (s3://, gs://, file://); each folder in them is a slide.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="TABLE", help="Folder of Parquet files to write.", show_default=False)],
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Ray cluster to join, such as auto or 10.0.0.1:6379.", show_default="this machine"
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="NUMBER", help="Processes that run the model.", show_default="one per GPU, else per machine"
        ),
    ] = None,
    features: Annotated[bool, typer.Option("--features", help="Also write the features of each cell.")] = False,
    bundle: BundleDir = None,
    backend: Backend = BackendName.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Classify many slides, on a cluster too, into a table.

    Each folder of images at any depth of SOURCE is a slide, with one Parquet file in TABLE that has the columns of
    cells.csv. The same command again does the slides that are missing or whose files have changed. The exit code is
    3 if some images could not be read: each has a row with the reason; and 1 if some slides could not.
    """
    from ..runtime.archive.archive import archive as run
    from ..runtime.bundle.bundle import SHIPPED, load_bundle
    from ..runtime.errors import OutputError
    from . import show, show_archive

    loaded = load_bundle(bundle or SHIPPED)
    with show.progress("crops") as progress:
        done = run(sources, out, loaded, backend.value, ray, workers, features, progress, show.notify)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(done), indent=2))
    else:
        show.unknown_cells(loaded)
        show_archive.archived(out, done)
    if done.failed:
        raise OutputError(
            f"{len(done.failed)} of {done.slides} slides are not in {out} as they are now (see above): the same command"
            " tries them again"
        )
    if done.rejected:
        raise typer.Exit(EXIT_UNREADABLE)


@app.command("archive-summary")
def archive_summary(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Folder that `archive` wrote.", show_default=False)],
) -> None:
    """Print one row of CSV for each slide of an archive.

    Counts, differential with 95 % intervals, cells for review and alarm, as summary.json has them.
    """
    from ..runtime.archive.summary import summarize_table
    from . import show

    if not summarize_table(table, lambda line: typer.echo(line, nl=False)):
        show.notify(f"{table} has no slide yet: `cartcls archive` puts them there")
