from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from samples import RUN, a_cell

from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.bundle.drift import alarm
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import Result
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.slides.drift import SlideDrift


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return load_bundle()


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[SlideLedger]:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        slide = ledger.add_slide(b"/captures/s", "s")
        slide.begin_run(RUN)
        yield slide


def arrive(slide: SlideLedger, stains: list[float]) -> None:
    first = slide.next_seq()
    cells = [replace(a_cell(seq), distance=1.0, stain=stain) for seq, stain in enumerate(stains, first)]
    slide.discover([b"%d" % cell.seq for cell in cells])
    images = slide.images()
    slide.report([Result(images[b"%d" % cell.seq], "reported", None, cell) for cell in cells])


@pytest.mark.parametrize("batch", [7, 32, 450])
@pytest.mark.parametrize("odd", [range(19), range(10, 25), range(210, 330), range(190, 260), range(0, 450, 5)])
def test_looks_are_the_same_however_the_cells_arrive(slide: SlideLedger, shipped: Bundle, batch: int, odd: range):
    stains = [99.0 if place in odd else 1.0 for place in range(450)]
    drift = SlideDrift(slide, shipped)
    for first in range(0, 450, batch):
        arrive(slide, stains[first : first + batch])
        drift.update()
    record = shipped.manifest.calibration
    assert record is not None
    assert slide.alarm() == ", ".join(alarm([("lymphocyte", 1.0, stain) for stain in stains], record.typical))


def test_a_process_that_died_before_a_look_takes_it_later_and_an_alarm_stays(slide: SlideLedger, shipped: Bundle):
    arrive(slide, [99.0] * 30)
    SlideDrift(slide, shipped).update()
    assert slide.alarm() == "colours"
    arrive(slide, [1.0] * 1000)
    SlideDrift(slide, shipped).update()
    assert slide.alarm() == "colours"
