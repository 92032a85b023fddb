from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from field_page import HOSTILE, SMUDGE, edit
from mosaic import mosaic
from reviewer import classify

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.fields.reading import FieldSearch
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import Image
from cartcls.runtime.ledger.folder import LEDGER
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.reports.rebuild import rebuild_reports


@pytest.fixture(scope="module")
def pictures(slide: Path, labels: dict[str, str]) -> dict[str, Image]:
    """A field of four cells, one of two, and one of none."""
    names = [name for name, label in labels.items() if label in ("lymphocyte", "neutrophil")][2:8]
    crops = [read_image(slide / name)[0] for name in names]
    first, second = (mosaic(part, 2, np.random.default_rng(0)).image for part in (crops[:4], crops[4:]))
    return {HOSTILE: first, "b.png": second, "c.png": np.full((400, 500, 3), first[0, 0], np.uint8)}


@pytest.fixture
def out(pictures: dict[str, Image], tmp_path: Path, bundle: Bundle) -> Path:
    """Reports of a slide of fields; of its cells no. 2 awaits review, and no. 5 is counted as no. 1."""
    folder = tmp_path / "slide"
    folder.mkdir()
    for name, pixels in pictures.items():
        PIL.Image.fromarray(pixels).save(folder / name)
    out = classify(folder, bundle, fields=FieldSearch())
    with Ledger(out / LEDGER) as ledger:
        (known,) = ledger.slides()
        cells = {cell.seq: cell for cell in known.cells()}
        review = replace(cells[2], status="review", reason="low confidence (0.61 < 0.93)")
        again = replace(cells[6], status="duplicate", reason="same cell as no. 1", same_cell_as=1)
        known.correct([], [review, again])
    rebuild_reports(out)
    edit(
        out, "fields", lambda fields: [[*field[:3], [SMUDGE] if field[4][0] == 1 else [], field[4]] for field in fields]
    )
    return out
