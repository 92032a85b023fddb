"""From more than 8 bits per channel to 8, by values that are declared: never each picture by its own."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, UsageError
from .resize import Image

HIGHEST = 65535
CAMERAS = {8: 255, 10: 1023, 12: 4095, 14: 16383}  # bits of a camera, and the highest value that it gives

Deep = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Levels:
    """Which values of 16 bits are black and white; what lies beyond them becomes black and white too.

    Attributes:
        black: Becomes 0 of 255.
        white: Becomes 255, above `black`.
    """

    black: int = 0
    white: int = HIGHEST

    def __post_init__(self) -> None:
        if not 0 <= self.black < self.white <= HIGHEST:
            raise UsageError(
                f"--black {self.black} --white {self.white}: black is below white, both are 0 to {HIGHEST}"
            )

    def __str__(self) -> str:
        return "without --black and --white" if self == FULL_RANGE else f"with {self.options}"

    @property
    def options(self) -> str:
        """The options that declare them."""
        return f"--black {self.black} --white {self.white}" if self.black else f"--white {self.white}"

    @property
    def sentence(self) -> str:
        """They, for a report."""
        return f"values of 16 bits: {self.black} black, {self.white} white"

    def to_eight_bits(self, values: Deep) -> Image:
        """Scale values of any shape."""
        return _table(self).take(values)

    def check_used(self, brightest: int) -> None:
        """Refuse a picture that a camera of fewer bits made, where nothing was declared: it would be nearly black.

        Args:
            brightest: Its highest value.

        Raises:
            ImageError: With the value to declare.
        """
        if self == FULL_RANGE and 0 < brightest <= max(CAMERAS.values()):
            bits, white = next((bits, white) for bits, white in CAMERAS.items() if brightest <= white)
            raise ImageError(
                f"has no value above {brightest} of {HIGHEST}, as of a camera with {bits} bits: export it with 8 bits,"
                f" or, for batch and watch, declare that with --white {white}"
            )


FULL_RANGE = Levels()


@lru_cache(maxsize=4)
def _table(levels: Levels) -> Image:
    values = (np.arange(HIGHEST + 1) - levels.black) * 255 / (levels.white - levels.black)
    return np.rint(values.clip(0, 255)).astype(np.uint8)
