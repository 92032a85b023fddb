"""Which scale holds for all fields of a slide: the one that was given, what their files say, or what red cells show."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import BinaryIO, Literal

from ..errors import ImageError
from ..images.decode import read_errors_told
from ..images.formats import TIFF_STARTS
from ..images.tiff_pages import BELIEVED, microns_per_pixel
from .scale import diameter_of, mpp_of, slide_diameter

UNLIKE = 1.25  # times: a scale that differs by more from the red cells' is not that of the fields

Origin = Literal["mpp", "file", "red cells"]
"""Where a scale is from: given as µm per pixel, said by the files, or measured on the red cells."""


@dataclass(frozen=True)
class FieldScale:
    """What one field tells of its scale.

    Attributes:
        diameter: Of a red cell in pixels, as `red_cell_diameter` gives it; None where none is seen.
        mpp: µm per pixel, as `file_mpp` gives it; None where the file does not say it.
    """

    diameter: float | None = None
    mpp: float | None = None


@dataclass(frozen=True)
class SlideScale:
    """The scale of a slide.

    Attributes:
        diameter: Of a red cell in pixels.
        origin: Where it is from.
        doubt: What speaks against it, for a person to read; empty where nothing does.
    """

    diameter: float
    origin: Origin
    doubt: str = ""

    @property
    def mpp(self) -> float:
        """µm per pixel."""
        return mpp_of(self.diameter)


def file_mpp(file: BinaryIO) -> float | None:
    """Scale in µm per pixel, as a TIFF or OME-TIFF says; None where it does not, and of any other file.

    Args:
        file: Open for reading. `decode` tells of damage.
    """
    try:
        with read_errors_told():
            file.seek(0)
            start = file.read(4)
        if not start.startswith(TIFF_STARTS):
            return None
        return microns_per_pixel(file)
    except ImageError:
        return None


def believed(mpp: float, diameter: float | None) -> bool:
    """Whether what a file says can be the scale of its field.

    Args:
        mpp: µm per pixel: 0.02 to 1 of a microscope's camera.
        diameter: Of a red cell in pixels, from which it differs by at most a quarter; None where none is seen.
    """
    return BELIEVED[0] <= mpp <= BELIEVED[1] and (diameter is None or _alike(diameter, diameter_of(mpp)))


def slide_scale(mpp: float | None, fields: Sequence[FieldScale]) -> SlideScale:
    """The one scale of all fields of a slide: `mpp`; else the median of what files say and red cells do not deny.

    Else the median size of the red cells. Files are compared with that median too, since single fields may err.

    Args:
        mpp: µm per pixel, as a person gives it; None where nobody does.
        fields: What each field tells.

    Raises:
        ScaleError: Nothing tells the scale.
    """
    seen = [field.diameter for field in fields if field.diameter is not None]
    said = [field.mpp for field in fields if field.mpp is not None]
    red_cells = median(seen) if seen else None
    if mpp is not None:
        given = diameter_of(mpp)
        doubt = "" if red_cells is None or _alike(red_cells, given) else _look_like(red_cells, mpp)
        return SlideScale(given, "mpp", doubt)
    if credible := [one for one in said if believed(one, red_cells)]:
        return SlideScale(diameter_of(median(credible)), "file")
    own = slide_diameter(seen)
    doubt = f"{_look_like(own, median(said))} as the files say: give the right one with --mpp" if said else ""
    return SlideScale(own, "red cells", doubt)


def _alike(red_cells: float, diameter: float) -> bool:
    return 1 / UNLIKE <= red_cells / diameter <= UNLIKE


def _look_like(red_cells: float, mpp: float) -> str:
    return f"the red cells look like {mpp_of(red_cells):.3f} µm per pixel, not {mpp:.3f}"
