"""The edge: decode, classify, explain and report cells on a machine that has no PyTorch.

`Classifier` is the door for other programs: see docs/python.md.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .inference.classifier import Classifier

__all__ = ["Classifier"]


def __getattr__(name: str) -> object:
    """Import the classifier when it is asked for, and what it needs with it."""
    if name != "Classifier":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .inference.classifier import Classifier

    return Classifier
