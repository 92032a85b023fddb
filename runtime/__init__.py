"""Inference and reports on a machine without PyTorch: decode, classify and explain cells.

`Classifier` is the interface for other programs: see docs/python.md.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .inference.classifier import Classifier

__all__ = ["Classifier"]


def __getattr__(name: str) -> object:
    """Import the classifier, and what it needs, on first use."""
    if name != "Classifier":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .inference.classifier import Classifier

    return Classifier
