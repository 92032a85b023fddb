"""The commands for existing reports: compare, rebuild, correct, export regions."""

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ..runtime.console import EXIT_FAILED, EXIT_UNREADABLE
from .main import app
from .options import ReportsDir


@app.command()
def verify(
    out: ReportsDir,
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Compare tables and signatures with the ledger.

    Each row that was edited, lost or added is named, and each signature. The exit code is 1 if there is such a row, or
    a slide was signed and none of its signatures holds for its present rows.
    """
    from dataclasses import asdict

    from ..runtime.reports.rebuild import verify_reports
    from . import show

    found = verify_reports(out)
    if as_json:
        typer.echo(json.dumps([{**asdict(slide), "file": str(slide.file)} for slide in found], indent=2))
    else:
        show.verified(found)
    if not all(slide.passes for slide in found):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def rebuild(
    out: ReportsDir,
    pages: Annotated[bool, typer.Option("--pages", help="Rebuild only the pages, and print their paths.")] = False,
) -> None:
    """Rebuild tables, summaries and pages from the ledger.

    Thumbnails stay as they are.
    """
    from ..runtime.reports.page import PAGE
    from ..runtime.reports.rebuild import rebuild_reports

    for directory in rebuild_reports(out, tables=not pages):
        typer.echo(directory / PAGE if pages else directory)


@app.command()
def correct(
    out: ReportsDir,
    corrections: Annotated[
        list[Path] | None,
        typer.Argument(metavar="CORRECTIONS.CSV", help="Files that pages saved.", show_default=False),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who made the corrections: needed with CORRECTIONS.CSV.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write all reviewed cells as class folders to train on."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Apply a reviewer's corrections; export reviewed cells.

    A page saves the corrections, and the cells are to train on. All corrections are checked first: if one does not
    match, none is applied; those of cells that are no longer counted are left out. Nothing is overwritten: the ledger
    keeps who labelled a cell, and when. The exit code is 3 if the file of a reviewed cell is missing or has changed.
    """
    from . import show

    if not corrections and export is None:
        raise typer.BadParameter("give a file of corrections, or --export", param_hint="CORRECTIONS.CSV")
    if bool(corrections) != (by is not None):
        raise typer.BadParameter("--by and a file of corrections belong together: give both, or neither")
    answers: dict[str, object] = {}
    if corrections and by is not None:
        from ..runtime.reports.corrections import correct_all

        applied = correct_all(out, corrections, by)
        answers["corrected"] = msgspec.to_builtins(applied, enc_hook=str)
        for done in () if as_json else applied:
            show.corrected(done)
    missing: dict[str, str] = {}
    if export is not None:
        from ..runtime.reports.export_reviewed import export_reviewed

        made = export_reviewed(out, export)
        missing = made.missing
        answers["exported"] = msgspec.to_builtins(made)
        if not as_json:
            show.reviewed(export, made)
    if as_json:
        typer.echo(json.dumps(answers, indent=2))
    if missing:
        raise typer.Exit(EXIT_UNREADABLE)


@app.command()
def regions(
    out: ReportsDir,
    slide: Annotated[str, typer.Option(metavar="NAME", help="Slide of whole fields.", show_default=False)],
    to: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder to write.", show_default="regions/ in the slide's report"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write the cells of whole fields as GeoJSON for QuPath.

    Each field gets a file, with box, label, confidence and status of its cells: a person's label where there is one,
    else the model's. QuPath imports it into the field that is open. An earlier export in the same folder is replaced.
    """
    from ..runtime.reports.regions import export_regions
    from . import show_fields

    folder, made = export_regions(out, slide, to)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), **msgspec.to_builtins(made)}, indent=2))
    else:
        show_fields.exported_regions(folder, made)
