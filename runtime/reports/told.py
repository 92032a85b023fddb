"""What is told of a slide to another system, and how binding it is.

`final` is only what a person has signed, while no image waits to be classified. Where a signed report was handed on,
and the slide is not the one that was signed any more, what follows corrects it: `amended`. All else is `partial`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..ledger.hand_over_table import HandOver
from ..ledger.signatures import Signature
from ..ledger.slide_info import SlideInfo
from .summary import Summary

RESEARCH_ONLY = "For Research Use Only. Not for use in diagnostic procedures."
FINAL, AMENDED, PARTIAL = "final", "amended", "partial"

Status = Literal["final", "amended", "partial"]


@dataclass(frozen=True)
class Told:
    """What is told of a slide.

    Attributes:
        report: Unique id of its report, hexadecimal.
        summary: Its counts.
        info: What the laboratory says of it; it has an identifier of the sample.
        status: How binding it is.
        signatures: Those that hold, the latest last; none while an image waits to be classified.
        issued: UTC, ISO 8601: when it was signed, else now.
        is_test: Whether it is marked as test data.
    """

    report: str
    summary: Summary
    info: SlideInfo
    status: Status
    signatures: Sequence[Signature]
    issued: str
    is_test: bool

    @property
    def remarks(self) -> list[str]:
        """What a reader must know before any figure, as sentences."""
        summary = self.summary
        said = [RESEARCH_ONLY]
        if not self.signatures:
            said.append("Not signed: preliminary.")
        if self.status == AMENDED:
            said.append("This replaces a signed report that was handed on: the slide is not the one that was signed.")
        if summary.awaiting_review == 1:
            said.append("The label of 1 cell is a model's proposal, which awaits review.")
        elif summary.awaiting_review:
            said.append(f"Labels of {summary.awaiting_review} cells are a model's proposals, which await review.")
        if summary.waiting:
            said.append(f"Images that wait to be classified: {summary.waiting}.")
        found = [summary.unknown_cells, *summary.warnings, summary.few or ""]
        return said + [f"{text[0].upper()}{text[1:].rstrip('.')}." for text in found if text]


def status_of(digest: str, handed_on: Sequence[HandOver]) -> Status:
    """How binding a report is.

    Args:
        digest: Of what was signed, where a signature holds; else empty.
        handed_on: What was handed on of it before, the latest last.
    """
    if any(made.digest not in ("", digest) or made.status == AMENDED for made in handed_on):
        return AMENDED
    return FINAL if digest else PARTIAL
