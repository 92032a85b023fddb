"""What a laboratory says of a slide."""

from math import isfinite

from msgspec import Struct

LONGEST_NAME, LONGEST_COMMENT = 200, 2000


class SlideInfo(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a laboratory says of a slide, in its `slide.toml` or typed at a station.

    Attributes:
        sample: Identifier of the sample.
        second_id: A second identifier, such as that of the order.
        stain: Such as `May Grünwald-Giemsa`.
        objective: Such as `100x oil`.
        mpp: µm per pixel.
        operator: Who made or scanned the slide.
        white_count: Of the analyser, in 10⁹ per litre.
        white_count_corrected: Whether the analyser has taken nucleated red cells off it already.
        red_cells: A comment on the red cells.
        platelets: A comment on the platelets.
    """

    sample: str = ""
    second_id: str = ""
    stain: str = ""
    objective: str = ""
    mpp: float | None = None
    operator: str = ""
    white_count: float | None = None
    white_count_corrected: bool = False
    red_cells: str = ""
    platelets: str = ""

    def __post_init__(self) -> None:
        for name in ("sample", "second_id", "stain", "objective", "operator"):
            _check_text(name, getattr(self, name), LONGEST_NAME)
        for name in ("red_cells", "platelets"):
            _check_text(name, getattr(self, name), LONGEST_COMMENT)
        if self.mpp is not None and not 0.01 <= self.mpp <= 2:
            raise ValueError("mpp is µm per pixel, from 0.01 to 2")
        if self.white_count is not None and not (isfinite(self.white_count) and 0 < self.white_count <= 5000):
            raise ValueError("white_count is in 10⁹ per litre, above 0 and at most 5000")
        if self.white_count_corrected and self.white_count is None:
            raise ValueError("white_count_corrected needs white_count")


def _check_text(name: str, text: str, longest: int) -> None:
    """Neither control characters, nor those that turn the direction of writing, nor spaces around it."""
    if not text.isprintable() or text != text.strip() or len(text) > longest:
        raise ValueError(f"{name} is one printable line of at most {longest} letters, with no space around it")
