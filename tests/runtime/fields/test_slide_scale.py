import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tiffs import of_tifffile

from cartcls.runtime.errors import ScaleError
from cartcls.runtime.fields.scale import RED_CELL_UM
from cartcls.runtime.fields.slide_scale import FieldScale, Origin, believed, file_mpp, slide_scale

PIXELS = np.full((20, 30, 3), 200, np.uint8)
AT_0_1 = {"resolution": (1e5, 1e5), "resolutionunit": "CENTIMETER"}
RED_CELL = RED_CELL_UM / 0.1  # pixels, at 0.1 µm per pixel


@pytest.mark.parametrize(
    ("options", "mpp"),
    [
        (AT_0_1, 0.1),
        ({"ome": True, "metadata": {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}}, 0.25),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({}, None),
    ],
)
def test_a_tiff_may_say_its_scale(options: dict[str, Any], mpp: float | None):
    assert file_mpp(io.BytesIO(of_tifffile(PIXELS, **options))) == (
        None if mpp is None else pytest.approx(mpp, rel=1e-3)
    )


def test_what_is_no_tiff_or_damaged_says_nothing():
    assert file_mpp(io.BytesIO(of_tifffile(PIXELS, **AT_0_1)[:12])) is None
    assert file_mpp(io.BytesIO(b"II*\0")) is None
    assert file_mpp(io.BytesIO(b"\xff\xd8\xff\xe0")) is None
    assert file_mpp(io.BytesIO(b"")) is None


@pytest.mark.parametrize(
    ("mpp", "diameter", "is_believed"),
    [
        (0.1, None, True),
        (0.1, RED_CELL, True),
        (0.1, 1.24 * RED_CELL, True),
        (0.1, 1.26 * RED_CELL, False),
        (0.1, RED_CELL / 1.24, True),
        (0.1, RED_CELL / 1.26, False),
        (0.019, None, False),
        (1.1, None, False),
        (float("nan"), None, False),
    ],
)
def test_a_file_is_believed_where_red_cells_do_not_deny_it(mpp: float, diameter: float | None, is_believed: bool):
    assert believed(mpp, diameter) == is_believed


SEEN, SAYING, BOTH = FieldScale(RED_CELL), FieldScale(mpp=0.11), FieldScale(RED_CELL, 0.11)
WRONG = FieldScale(RED_CELL, 0.5)


@pytest.mark.parametrize(
    ("mpp", "fields", "expected", "origin", "doubt"),
    [
        (0.12, [BOTH, SEEN], 0.12, "mpp", ""),
        (0.12, [FieldScale()], 0.12, "mpp", ""),
        (0.25, [SEEN], 0.25, "mpp", "the red cells look like 0.100 µm per pixel, not 0.250"),
        (None, [BOTH, SEEN], 0.11, "file", ""),
        (None, [SAYING, FieldScale()], 0.11, "file", ""),
        (None, [FieldScale(mpp=0.09), FieldScale(mpp=0.1), BOTH], 0.1, "file", ""),
        (None, [BOTH, WRONG, WRONG], 0.11, "file", ""),
        (None, [FieldScale(140.0, 0.1), BOTH, BOTH], 0.11, "file", ""),
        (None, [SEEN, FieldScale(90.0), SEEN, FieldScale()], 0.1, "red cells", ""),
        (None, [WRONG, SEEN], 0.1, "red cells", "look like 0.100 µm per pixel, not 0.500 as the files say"),
    ],
)
def test_the_scale_of_a_slide(
    mpp: float | None, fields: Sequence[FieldScale], expected: float, origin: Origin, doubt: str
):
    found = slide_scale(mpp, fields)
    assert found.mpp == pytest.approx(expected)
    assert found.diameter == pytest.approx(RED_CELL_UM / expected)
    assert found.origin == origin
    assert doubt in found.doubt
    assert bool(found.doubt) == bool(doubt)


@pytest.mark.parametrize("fields", [[], [FieldScale()]])
def test_where_nothing_tells_the_scale_it_must_be_given(fields: Sequence[FieldScale]):
    with pytest.raises(ScaleError, match="--mpp"):
        slide_scale(None, fields)
