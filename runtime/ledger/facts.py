"""What is settled for all rows of a slide."""

from dataclasses import dataclass

from ..images.levels import FULL_RANGE, Levels
from .slide_info import SlideInfo


@dataclass(frozen=True)
class Facts:
    """What is settled for all rows of a slide.

    Attributes:
        levels: Values of 16 bits that are black and white.
        deep: Whether a label was made of a file of more than 8 bits, which alone they concern.
        fields: Whether its files are whole fields, in which cells are searched.
        diameter: Of a red cell in them, in pixels; None where it is not known yet.
        origin: Where that comes from; empty likewise.
        doubt: What speaks against it, for a person to read; empty where nothing does.
        finder: Version of what finds the cells; empty likewise.
        leukocytes: At how many the last run stopped, before it had looked at all fields; None where it did not.
        info: What `slide.toml` says of the slide; None where it says nothing. What was typed counts before it.
        info_problem: Why the file that says it cannot be used now; empty where it can, or there is none.
    """

    levels: Levels = FULL_RANGE
    deep: bool = False
    fields: bool = False
    diameter: float | None = None
    origin: str = ""
    doubt: str = ""
    finder: str = ""
    leukocytes: int | None = None
    info: SlideInfo | None = None
    info_problem: str = ""

    @property
    def declared(self) -> Levels | None:
        """The levels that made labels; None where none was made by others than the full range."""
        return self.levels if self.deep and self.levels != FULL_RANGE else None
