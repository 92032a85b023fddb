from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import a_cell, begun_slide

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.bundle.drift import alarm
from cartcls.runtime.ledger.records import Result
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.reports.drift import take_looks
from cartcls.runtime.reports.slide_review import cells_of


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[SlideLedger]:
    with begun_slide(tmp_path) as slide:
        yield slide


def arrive(slide: SlideLedger, stains: list[float], first: int | None = None) -> None:
    cells = [a_cell(seq, stain=stain) for seq, stain in enumerate(stains, first or slide.next_seq())]
    slide.discover([b"%d" % cell.seq for cell in cells])
    images = slide.images()
    slide.report([Result(images[b"%d" % cell.seq], "reported", None, [cell]) for cell in cells])


@pytest.mark.parametrize("batch", [7, 32, 450])
@pytest.mark.parametrize("odd", [range(19), range(10, 25), range(210, 330), range(190, 260), range(0, 450, 5)])
def test_looks_are_the_same_however_the_cells_arrive(slide: SlideLedger, shipped: Bundle, batch: int, odd: range):
    stains = [99.0 if place in odd else 1.0 for place in range(450)]
    for first in range(0, 450, batch):
        arrive(slide, stains[first : first + batch])
        take_looks(slide, shipped)
    record = shipped.manifest.calibration
    assert record is not None
    assert slide.alarm() == ", ".join(alarm([("lymphocyte", 0.0, stain) for stain in stains], record.typical))


def test_a_process_that_died_before_a_look_takes_it_later_and_an_alarm_stays(slide: SlideLedger, shipped: Bundle):
    arrive(slide, [99.0] * 30)
    take_looks(slide, shipped)
    assert slide.alarm() == "colours"
    arrive(slide, [1.0] * 1000)
    take_looks(slide, shipped)
    assert slide.alarm() == "colours"


def test_rows_that_take_the_place_of_others_are_looked_at(slide: SlideLedger, shipped: Bundle):
    arrive(slide, [1.0] * 60)
    take_looks(slide, shipped)
    assert slide.alarm() == ""
    arrive(slide, [99.0] * 60, first=1)
    take_looks(slide, shipped)
    assert slide.alarm() == "colours"


def test_a_distance_that_is_not_a_number_is_far(slide: SlideLedger, shipped: Bundle):
    arrive(slide, [float("nan")] * 9 + [1.0] * 11)
    take_looks(slide, shipped)
    assert slide.alarm() == "colours"


def test_a_look_that_is_due_is_taken_before_rows_are_shown(slide: SlideLedger, shipped: Bundle):
    arrive(slide, [99.0] * 30)
    assert {cell.status for cell in cells_of(slide, shipped)} == {"review"}
