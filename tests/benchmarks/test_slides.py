"""The slides that are drawn in `benchmarks/slides.py`, and what is counted on them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import slides
from outputs import Outputs, Pool

from cartcls.calibration.evidence import gather
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.records import Cell


def cell(label: str, status: str = "ok", distance: float = 0.0) -> Cell:
    reason = "" if status == "ok" else "low confidence"
    return Cell(1, "", status, reason, "", label, distance=distance, stain=0.0)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pool(bundle: Bundle, classifier: Classifier, data_dir: Path) -> Pool:
    """Real cells; the model calls each immature granulocyte a neutrophil."""
    paths = sorted(path.relative_to(data_dir).as_posix() for path in data_dir.glob("*/*.jpg"))
    evidence = gather(data_dir, paths, classifier, lambda done, count: None)
    names = [entry.name for entry in bundle.classes]
    for row in evidence.logits[evidence.labels == names.index("ig")]:
        assert row.argmax() == names.index("ig")
    logits = evidence.logits.copy()
    logits[evidence.labels == names.index("ig"), names.index("neutrophil")] = logits.max() + 1
    return Pool(Outputs([f"slide/{path}" for path in paths], replace(evidence, logits=logits)), bundle)


def test_a_slide_is_counted_by_its_cells_alone_and_by_its_rules(bundle: Bundle):
    truth = ["neutrophil"] * 30 + ["lymphocyte"] * 8 + ["neutrophil", "ig", "monocyte", "lymphocyte"]
    cells = [*map(cell, truth[:38]), cell("basophil"), cell("neutrophil"), cell("monocyte"), cell("monocyte", "review")]
    found = slides.look_at(cells, truth, bundle)
    assert found.looked == (1, 3)
    assert found.wrong == (Counter(neutrophil=1, ig=1), Counter(ig=1))
    assert found.reasons == {
        ("basophil", slides.ALWAYS): 1,
        ("monocyte", slides.RARE_HERE): 1,
        ("monocyte", slides.OWN): 1,
    }
    assert found.right == Counter(monocyte=1)
    assert not found.alarm
    assert found.off[0] == pytest.approx(100 * 4 / 42)  # one too many basophils and monocytes, one ig and lymphocyte less


def test_after_an_alarm_nothing_is_wrong_and_ok(bundle: Bundle):
    found = slides.look_at([cell("neutrophil", distance=1e6)] * 20, ["ig"] * 20, bundle)
    assert found.alarm == ("features",)
    assert found.looked == (0, 20)
    assert found.wrong[1].total() == 0


def test_a_share_of_all_cells_has_the_interval_of_those_that_were_drawn_from():
    share, low, high = slides.share_of_all(Counter(a=20), Counter(a=1000), Counter(a=100))
    assert (share, low, high) == pytest.approx((0.02, 0.0042, 0.0629), abs=1e-4)  # Jeffreys, 2 of 100
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
