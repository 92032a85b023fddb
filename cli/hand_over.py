"""The command that hands a slide's result on to another system."""

from enum import Enum
from typing import Annotated

import typer

from .main import app
from .options import ReportsDir


class FormatName(str, Enum):
    """Names of the formats."""

    fhir = "fhir"
    csv = "csv"


@app.command("hand-over")
def hand_over(
    out: ReportsDir,
    slide: Annotated[str, typer.Option(metavar="NAME", help="Slide to hand on.", show_default=False)],
    form: Annotated[FormatName, typer.Option("--format", help="What is written.")] = FormatName.fhir,
    not_test: Annotated[
        bool, typer.Option("--not-test", help="Leave out the mark that says that this is test data.")
    ] = False,
) -> None:
    """Print the result of a slide for another system.

    FHIR R4B as JSON, or one row of CSV. The identifier of the sample must be in the slide's slide.toml, or typed in
    review. The status is final only where the slide is signed; a correction of a signed report that was handed on is
    amended; else it is partial. It is marked as test data, and for research use only.
    """
    import sys

    from ..runtime.reports.hand_over import hand_over as run

    sys.stdout.buffer.write(run(out, slide, form.value, is_test=not not_test))
