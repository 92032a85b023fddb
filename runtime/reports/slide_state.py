"""What is known of a slide beside its rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..ledger.facts import Facts
from ..ledger.signatures import Signature, signatures_of
from ..ledger.slide_info import SlideInfo
from ..ledger.slide_ledger import SlideLedger
from ..ledger.typed_facts import TypedFacts

NO_FACTS = Facts()


@dataclass(frozen=True)
class SlideState:
    """What is known of a slide beside its rows.

    Attributes:
        waiting: Number of images that have no row yet.
        alarm: What of the slide is unlike home; empty where nothing is.
        facts: What is settled for all rows.
        smudges: Number of smudges in its fields.
        unlooked: Places of the images that have no row yet, in path order.
        signatures: All of the slide, the latest last.
        typed: What a person typed of the slide; None where nothing was.
    """

    waiting: int = 0
    alarm: str = ""
    facts: Facts = NO_FACTS
    smudges: int = 0
    unlooked: Sequence[int] = ()
    signatures: Sequence[Signature] = ()
    typed: TypedFacts | None = None

    @property
    def info(self) -> SlideInfo | None:
        """What the laboratory says of the slide."""
        return self.typed.info if self.typed else self.facts.info

    @classmethod
    def of(cls, ledger: SlideLedger) -> "SlideState":
        """That of a slide in a ledger."""
        facts = ledger.facts()
        unlooked = ledger.unlooked() if facts.leukocytes is not None else ()
        signatures, typed = signatures_of(ledger), ledger.typed()
        return cls(ledger.waiting(), ledger.alarm(), facts, ledger.smudges(), unlooked, signatures, typed)
