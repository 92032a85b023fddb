"""The command line `cartcls`."""

from ..runtime import console
from . import calibrate, reports
from .main import app

__all__ = ["app", "calibrate", "main", "reports"]


def main() -> None:
    """Entry point of the command `cartcls`."""
    console.run(app)
