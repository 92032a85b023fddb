"""The command line `cartcls`."""

from ..runtime import console
from .main import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the command `cartcls`."""
    console.run(app)
