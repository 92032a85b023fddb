"""The command line `cartcls`."""

from ..runtime import console
from ..train.commands import app as train
from . import adapt, archive, calibrate, compare, export, fields, hand_over, reports, review, standardise
from .main import app

__all__ = [
    "adapt",
    "app",
    "archive",
    "calibrate",
    "compare",
    "export",
    "fields",
    "hand_over",
    "main",
    "reports",
    "review",
    "standardise",
]

app.add_typer(train, name="train")


def main() -> None:
    """Entry point of the command `cartcls`."""
    console.run_process(app)
