"""The command that shows which cells are found in whole fields."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..runtime.console import EXIT_UNREADABLE
from .main import app


@app.command()
def find(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE", help="Whole fields of one slide, or their folder.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder for copies of the fields with boxes.", show_default=False)],
    mpp: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=2.0,
            help="Scale in µm per pixel.",
            metavar="NUMBER",
            show_default="from the files or the red cells",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Show which cells are found in whole fields.

    Nothing is classified. White cells and erythroblasts are searched, platelets are not. All fields have one scale:
    --mpp; else what TIFF files say, where their red cells do not look otherwise; else the median size of the red cells,
    which are 7.5 µm wide. Boxes are green; orange where the field's border may cut the cell, magenta where it may be
    two, grey where it is a smudge, which does not count. The exit code is 3 if some fields could not be used.
    """
    from ..runtime.fields.slide_scale import slide_scale
    from . import show, show_fields

    images = show_fields.listed(images, out)
    measured = show_fields.measured(images)
    scale = slide_scale(mpp, list(measured.values()))
    if scale.doubt:
        show.notify(f"warning: {scale.doubt}")
    looked = show_fields.look_at_all(measured, scale.diameter, out)
    if as_json:
        found = {"diameter": scale.diameter, "mpp": scale.mpp, "scale_from": scale.origin}
        typer.echo(json.dumps({**found, "fields": [one.as_json() for one in looked]}, indent=2))
    else:
        show_fields.table(looked, scale)
    if len(looked) < len(dict.fromkeys(images)):
        raise typer.Exit(EXIT_UNREADABLE)
