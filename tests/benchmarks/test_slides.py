"""The slides that are drawn in `benchmarks/slides.py`, and what is counted on them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import slides
from msgspec import structs
from outputs import Outputs, Pool

from cartcls.calibration.evidence import gather
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.ledger.records import Cell
from cartcls.runtime.reports.slide_review import slide_review


def cell(label: str, reason: str = "") -> Cell:
    return Cell(1, "", "review" if reason else "ok", reason, "", label, distance=0.0, stain=0.0)


@pytest.fixture(scope="module")
def with_rules(bundle: Bundle) -> Bundle:
    """A bundle that marks nothing for review but what the slide does."""
    record, shipped = bundle.manifest.calibration, load_bundle().manifest
    assert record and shipped.calibration
    record = structs.replace(record, typical=shipped.calibration.typical, slide=shipped.calibration.slide)
    return replace(bundle, manifest=structs.replace(bundle.manifest, classes=shipped.classes, calibration=record))


@pytest.fixture(scope="module")
def pool(with_rules: Bundle, classifier: Classifier, data_dir: Path) -> Pool:
    """Real cells; the model calls each immature granulocyte a neutrophil."""
    paths = sorted(path.relative_to(data_dir).as_posix() for path in data_dir.glob("*/*.jpg"))
    evidence = gather(data_dir, paths, classifier, lambda done, count: None)
    names, logits = [entry.name for entry in with_rules.classes], evidence.logits.copy()
    logits[evidence.labels == names.index("ig"), names.index("neutrophil")] = logits.max() + 1
    return Pool(Outputs([f"slide/{path}" for path in paths], replace(evidence, logits=logits)), with_rules)


def look_at(cells: list[Cell], truth: list[str], bundle: Bundle, unlike: str = "") -> slides.Slide:
    review = slide_review(cells, bundle, unlike)
    return slides.look_at(cells, [review.applied_to(cell) for cell in cells], truth, unlike, bundle)


def test_a_slide_is_counted_by_its_cells_alone_and_by_its_rules(with_rules: Bundle):
    truth = ["neutrophil"] * 30 + ["lymphocyte"] * 8 + ["neutrophil", "ig", "monocyte", "lymphocyte"]
    labels = [*truth[:38], "basophil", "neutrophil", "monocyte", "monocyte"]
    cells = [*map(cell, labels[:-1]), cell(labels[-1], "low confidence")]
    found = look_at(cells, truth, with_rules)
    assert found.looked == (1, 3)
    assert found.wrong == (Counter(neutrophil=1, ig=1), Counter(ig=1))
    assert found.reasons == {
        ("basophil", slides.ALWAYS): 1,
        ("monocyte", slides.RARE_HERE): 1,
        ("monocyte", slides.OWN): 1,
    }
    assert found.right == Counter(monocyte=1)
    assert found.off[0] == pytest.approx(100 * 4 / 42)  # one basophil and monocyte more, one ig and lymphocyte less

    marked = [cell("basophil", slides.RARE) if each.label == "basophil" else each for each in cells]
    assert look_at(marked, truth, with_rules) == found


def test_after_an_alarm_nothing_is_wrong_and_ok(with_rules: Bundle):
    found = look_at([cell("neutrophil")] * 20, ["ig"] * 20, with_rules, "colours")
    assert found.looked == (0, 20)
    assert [wrong.total() for wrong in found.wrong] == [20, 0]


def test_a_share_of_all_cells_has_the_interval_of_those_that_were_drawn_from():
    share, low, high = slides.share_of_all(Counter(a=20), Counter(a=1000), Counter(a=100))
    assert (share, low, high) == pytest.approx((0.02, 0.0042, 0.0626), abs=1e-4)  # Jeffreys, 2 of 100
    none, low, high = slides.share_of_all(Counter(), Counter(a=700, b=300), Counter(a=1000, b=49))
    assert (none, low) == (0, 0)
    assert high == pytest.approx(0.3 * 0.0499, rel=0.02)  # of the few b, above all


def test_other_shares_keep_their_proportions():
    mix = slides.with_share({"a": 0.6, "b": 0.3, "c": 0.1}, "c", 0.4)
    assert mix == pytest.approx({"a": 0.4, "b": 0.2, "c": 0.4})


def test_slides_are_drawn_from_a_pool(pool: Pool):
    found = slides.draw(pool, {"neutrophil": 0.7, "ig": 0.3}, 60, 4)
    assert found == slides.draw(pool, {"neutrophil": 0.7, "ig": 0.3}, 60, 4)
    assert all(slide.truth.total() == 60 for slide in found)
    assert all(slide.wrong[1]["ig"] == slide.truth["ig"] for slide in found)  # called neutrophils: not rare
    small = slides.draw(pool, {"neutrophil": 0.7, "ig": 0.3}, 15, 4)
    assert all(slide.looked[1] == 15 and not slide.wrong[1] for slide in small)


def test_the_page_has_a_row_for_each_mix(pool: Pool):
    found = {(name, size): slides.draw(pool, slides.MIXES[name], size, 2) for name, size in slides.ROWS}
    text = "\n".join(slides.page(pool, found, "DATA"))
    assert all(f"| {name} | {size} |" in text for name, size in slides.ROWS)
    lost = sum(slide.truth["ig"] for slide in found["natural", 500])
    assert f"{lost} → {lost} of {lost}" in text
