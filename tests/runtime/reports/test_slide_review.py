from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import uncalibrated
from msgspec import structs
from samples import RUN, a_cell, begun_slide

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.inference.predictions import RARE
from cartcls.runtime.ledger.records import Cell, Result
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.reports.slide_review import TOO_FEW, UNLIKE, cells_of, slide_review
from cartcls.runtime.reports.slide_state import SlideState
from cartcls.runtime.reports.summary import summarize
from cartcls.runtime.reports.table import CSV, project, verify

NORMAL = ["neutrophil"] * 60 + ["lymphocyte"] * 30 + ["monocyte"] * 6 + ["basophil"] * 2 + ["platelet"] * 2


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[SlideLedger]:
    with begun_slide(tmp_path) as slide:
        yield slide


def a_slide(labels: list[str]) -> list[Cell]:
    return [a_cell(seq, label) for seq, label in enumerate(labels, 1)]


def report(slide: SlideLedger, cells: list[Cell]) -> None:
    slide.discover([b"%d" % cell.seq for cell in cells])
    images = slide.images()
    slide.report([Result(images[b"%d" % cell.seq], "reported", None, [cell]) for cell in cells])


def statuses(cells: list[Cell], bundle: Bundle, alarm: str = "") -> dict[str | None, tuple[str, str]]:
    review = slide_review(cells, bundle, alarm)
    return {cell.label: (shown.status, shown.reason) for cell in cells for shown in [review.applied_to(cell)]}


def test_a_person_looks_at_each_cell_of_a_class_that_is_rare_on_the_slide(shipped: Bundle):
    found = statuses(a_slide(NORMAL), shipped)
    assert {label for label, (status, _) in found.items() if status == "review"} == {"basophil"}
    assert found["basophil"] == ("review", RARE)
    few = statuses(a_slide(["neutrophil"] * 30 + ["monocyte"] * 4), shipped)
    assert few["monocyte"] == ("review", RARE)
    share = ["neutrophil"] * 194 + ["monocyte"] * 6
    assert statuses(a_slide(share), shipped)["monocyte"] == ("ok", "")
    assert statuses(a_slide(["neutrophil"] * 2 + share), shipped)["monocyte"] == ("review", RARE)


def test_some_classes_are_always_looked_at_however_many_there_are(shipped: Bundle):
    assert {entry.name for entry in shipped.classes if entry.always_review} == {"basophil", "erythroblast", "ig"}
    found = statuses(a_slide(["ig"] * 50 + ["erythroblast"] * 50), shipped)
    assert found == {"ig": ("review", RARE), "erythroblast": ("review", RARE)}


def test_platelets_and_cells_that_are_not_counted_make_no_class_rare(shipped: Bundle):
    cells = a_slide(["neutrophil"] * 30 + ["platelet"])
    copies = [replace(a_cell(seq, "monocyte"), status="duplicate") for seq in range(100, 200)]
    found = statuses([*cells, *copies], shipped)
    assert found["platelet"] == ("ok", "")
    assert found["monocyte"] == ("duplicate", "")


def test_below_twenty_cells_every_one_is_for_review_with_its_own_reasons_last(shipped: Bundle):
    cells = a_slide(["neutrophil"] * 19)
    cells[0] = replace(cells[0], status="review", reason="out of focus (sharpness 1.0 < 2.0)")
    review = slide_review(cells, shipped, "")
    assert review.applied_to(cells[0]).reason == f"{TOO_FEW}; out of focus (sharpness 1.0 < 2.0)"
    assert review.applied_to(cells[1]).reason == TOO_FEW
    summary = summarize(shipped, RUN, [review.applied_to(cell) for cell in cells])
    assert summary.warnings == [f"{TOO_FEW}: 19 of 20. Every cell is for review"]
    assert statuses(a_slide(["neutrophil"] * 20), shipped)["neutrophil"] == ("ok", "")


def test_a_bundle_that_is_not_calibrated_gives_its_own_reason_alone(shipped: Bundle):
    cells = [replace(cell, status="review", reason="not calibrated") for cell in a_slide(["neutrophil"] * 5)]
    assert statuses(cells, uncalibrated(shipped))["neutrophil"] == ("review", "not calibrated")


def test_after_an_alarm_every_cell_has_that_one_reason_beside_what_is_no_cell(shipped: Bundle):
    unlike = f"{UNLIKE}: colours"
    cells = a_slide(NORMAL)
    reasons = ["out of focus (sharpness 1.0 < 2.0)", "looks like a whole field (size 0.43 > 0.25); too dark (1 < 2)"]
    flagged = [replace(a_cell(seq, status="review"), reason=reason) for seq, reason in enumerate(reasons, 200)]
    rejected = Cell(300, "x.jpg", "rejected", "is empty (0 bytes)", "")
    review = slide_review([*cells, *flagged, rejected], shipped, "colours")
    shown = [review.applied_to(cell) for cell in (*cells, *flagged)]
    assert {cell.status for cell in shown} == {"review"}
    assert {cell.reason for cell in shown[:-1]} == {unlike}
    assert shown[-1].reason == f"{unlike}; looks like a whole field (size 0.43 > 0.25)"
    assert review.applied_to(rejected) == rejected
    summary = summarize(shipped, RUN, shown, SlideState(alarm="colours"))
    assert (summary.status["ok"], summary.promise, summary.alarm) == (0, "withdrawn", "colours")
    assert summary.warnings[0].startswith(f"{unlike}. Every cell is for review; what was promised of ok cells is with")


def test_rows_of_before_change_with_the_slide_and_the_table_with_them(
    slide: SlideLedger, shipped: Bundle, tmp_path: Path
):
    file = tmp_path / CSV
    cells = a_slide(NORMAL)

    def shown() -> list[str]:
        assert project(slide, shipped, file) is None
        assert verify(slide, shipped, file) == []
        return [cell.status for cell in cells_of(slide, shipped)]

    report(slide, cells[:10])
    assert shown() == ["review"] * 10
    report(slide, cells[10:])
    assert shown() == ["ok"] * 96 + ["review"] * 2 + ["ok"] * 2
    assert file.read_text("utf-8").count(",estimated,") + file.read_text("utf-8").count('"estimated, no promise"') == 98
    slide.set_alarm("features")
    assert shown() == ["review"] * 100
    assert file.read_text("utf-8").count("withdrawn") == 100


def test_the_ledger_counts_labels_as_rows_come_and_change(slide: SlideLedger):
    assert not slide.labels()
    report(slide, a_slide(["ig", "ig", "monocyte"]))
    report(slide, [a_cell(4, "ig"), replace(a_cell(5, "ig"), status="duplicate")])
    assert slide.labels() == {"ig": 3, "monocyte": 1}
    image = slide.images([b"1"])[b"1"]
    slide.report([Result(image, "reported", None, [a_cell(1, "monocyte")])])
    assert slide.labels() == {"ig": 2, "monocyte": 2}
    report(slide, [replace(a_cell(6, "ig"), distance=1.5, stain=2.5), replace(a_cell(7), distance=1.0, stain=2.0)])
    assert slide.measured(1) == [("lymphocyte", 1.0, 2.0)]
    assert slide.measured(2) == [("ig", 1.5, 2.5), ("lymphocyte", 1.0, 2.0)]


def test_nothing_is_guaranteed_on_a_slide_that_is_unlike_home_and_a_person_may_have_looked_at_all(shipped: Bundle):
    cells = a_slide(NORMAL)
    review = slide_review(cells, shipped, "colours")
    done = [replace(review.applied_to(cell), corrected_label=cell.label, corrected_by="Ada") for cell in cells]
    summary = summarize(shipped, RUN, done, SlideState(alarm="colours"))
    assert summary.review_complete
    assert summary.warnings == [f"{UNLIKE}: colours. A person has looked at every cell"]
    few = a_slide(["neutrophil"] * 19)
    short = summarize(shipped, RUN, [slide_review(few, shipped, "").applied_to(cell) for cell in few])
    for found, promise in ((summary, "withdrawn"), (short, "")):
        assert found.calibration is not None
        assert (found.calibration.guaranteed_error, found.promise) == (None, promise)


def test_a_class_of_a_laboratorys_own_can_be_rare_too(shipped: Bundle):
    classes = tuple(
        structs.replace(entry, kind="other" if entry.name == "monocyte" else entry.kind) for entry in shipped.classes
    )
    own = replace(shipped, manifest=structs.replace(shipped.manifest, classes=classes))
    assert statuses(a_slide(["neutrophil"] * 30 + ["monocyte"]), own)["monocyte"] == ("review", RARE)
