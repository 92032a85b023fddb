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
        list[Path], typer.Argument(metavar="IMAGE", help="Whole fields of one slide.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for copies of the fields with boxes.", show_default=False)],
    mpp: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=2.0, help="Scale in µm per pixel.", metavar="NUMBER", show_default="from the red cells"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Show which cells are found in whole fields.

    Nothing is classified. White cells and erythroblasts are searched, platelets are not. All fields have one scale: the
    median size of their red cells, which are 7.5 µm wide, or --mpp. Boxes are green; orange where the field's border
    may cut the cell, magenta where it may be two, grey where it is a smudge, which does not count. The exit code is 3
    if some fields could not be used.
    """
    from ..runtime.fields.scale import diameter_of, mpp_of, slide_diameter
    from . import show_fields

    measured = show_fields.measured(images)
    diameters = list(measured.values())
    diameter = slide_diameter(diameters) if mpp is None else diameter_of(mpp)
    show_fields.compare(diameter, diameters)
    looked = show_fields.look_at_all(measured, diameter, out)
    if as_json:
        fields = [found.as_json() for found in looked]
        typer.echo(json.dumps({"diameter": diameter, "mpp": mpp_of(diameter), "fields": fields}, indent=2))
    else:
        show_fields.table(looked, diameter, mpp is None)
    if len(looked) < len(dict.fromkeys(images)):
        raise typer.Exit(EXIT_UNREADABLE)
