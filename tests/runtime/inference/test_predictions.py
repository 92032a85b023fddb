from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import adjusting, uncalibrated

from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.images.adjust import Adjustment
from cartcls.runtime.images.reading import Reading, read_cell
from cartcls.runtime.inference.backend import Outputs
from cartcls.runtime.inference.predictions import NO_NUMBER, RECOMPUTED, Prediction, interpret, softmax

GONE = Reading(error="has vanished", incomplete=True)


@pytest.fixture(scope="module")
def cell(slide: Path, bundle: Bundle) -> Reading:
    """A real cell, as it was read."""
    return read_cell(slide / "cell-01.jpg", bundle.width, bundle.height)


def outputs(*classes: int) -> Outputs:
    """Each cell of one class; its heat map and features hold its number."""
    logits = 5 * np.eye(8, dtype=np.float32)[list(classes)]
    numbers = np.arange(len(classes), dtype=np.float32)[:, None]
    cams = numbers + 10 * np.arange(8, dtype=np.float32)
    return Outputs(logits, numbers.repeat(3968, 1), cams[:, :, None, None])


def said(bundle: Bundle, given: Outputs | None, *readings: Reading) -> list[Prediction]:
    return list(interpret([f"{number}.jpg" for number in range(len(readings))], readings, given, bundle))


def test_each_readable_image_gets_its_own_outputs_whatever_lies_between(bundle: Bundle, cell: Reading):
    found = said(bundle, outputs(6, 2), GONE, cell, GONE, GONE, cell, GONE)
    assert [prediction.source for prediction in found] == [f"{number}.jpg" for number in range(6)]
    assert [prediction.label for prediction in found] == [None, "neutrophil", None, None, "erythroblast", None]
    assert [prediction.status for prediction in found] == ["rejected", "ok", "rejected", "rejected", "ok", "rejected"]
    first, second = found[1], found[4]
    assert (first.index, second.index) == (6, 2)
    assert [prediction.features[0] for prediction in (first, second)] == [0, 1]
    assert first.heat_map is not None and second.heat_map is not None
    assert (first.heat_map[0, 0], second.heat_map[0, 0]) == (60, 21)
    assert first.confidence == first.probabilities[6] == pytest.approx(np.exp(5) / (np.exp(5) + 7))


def test_pixels_at_the_input_size_are_given_back_and_the_rest_of_a_reading_kept(bundle: Bundle, cell: Reading):
    (prediction,) = said(bundle, outputs(0), cell)
    assert cell.image is not None
    assert prediction.reading.image is None
    assert (prediction.reading.small is cell.small, prediction.reading.sha256) == (True, cell.sha256)


def test_heat_lies_over_the_picture_as_it_is_where_the_model_saw_it_larger(bundle: Bundle, cell: Reading):
    given = replace(outputs(6), cams=np.ones((1, 8, 12, 12), np.float32))
    (prediction,) = said(adjusting(bundle, Adjustment(2.0)), given, cell)
    assert prediction.cams is not None and prediction.heat_map is not None
    assert prediction.cams.shape == (8, 12, 12)
    assert prediction.heat_map[3:9, 3:9].min() == 1
    assert prediction.heat_map.sum() == 36


def test_box_and_attention_lie_over_the_picture_as_it_is(bundle: Bundle, cell: Reading):
    attention = np.linspace(0, 1, 4, dtype=np.float32).reshape(1, 1, 2, 2)
    given = replace(outputs(6), boxes=np.array([[0, 0.25, 0.5, 0.5]], np.float32), attention=attention)
    (same,) = said(bundle, given, cell)
    (larger,) = said(adjusting(bundle, Adjustment(2.0)), given, cell)
    assert same.box is not None and same.attention is not None
    assert (same.box.tolist(), same.attention.tolist()) == ([0, 0.25, 0.5, 0.5], attention[0, 0].tolist())
    assert larger.box is not None and larger.attention is not None
    assert larger.box.tolist() == [0.25, 0.375, 0.25, 0.25]
    assert larger.attention == pytest.approx(attention[0, 0] / 4)  # half as wide and high, and nothing around it
    (without,) = said(bundle, outputs(6), cell)
    assert (without.box, without.attention) == (None, None)
    given.boxes[0, 2] = np.nan  # type: ignore[index]
    (broken,) = said(bundle, given, cell)
    assert (broken.label, broken.box) == ("neutrophil", None)


def test_what_cannot_be_read_says_why_and_has_nothing_else(bundle: Bundle):
    (gone,) = said(bundle, None, GONE)
    assert (gone.label, gone.index, gone.confidence, gone.heat_map, gone.distance) == (None,) * 5
    assert (gone.reasons, len(gone.probabilities), len(gone.logits), len(gone.features)) == (("has vanished",), 0, 0, 0)
    assert gone.reading.incomplete


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_logit_that_is_no_number_is_no_label_and_moves_no_other_cell(bundle: Bundle, cell: Reading, value: float):
    given = outputs(6, 2, 1)
    given.logits[1, 7] = value
    first, broken, last = said(bundle, given, cell, cell, cell)
    assert (broken.label, broken.status, broken.reasons) == (None, "rejected", (NO_NUMBER,))
    assert broken.reading.error == NO_NUMBER
    assert not broken.reading.incomplete
    assert (first.label, last.label, last.features[0]) == ("neutrophil", "eosinophil", 2)


def test_what_was_computed_again_is_for_review(bundle: Bundle, cell: Reading):
    given = replace(outputs(6, 2), recomputed=np.array([False, True]))
    first, second = said(bundle, given, cell, cell)
    assert (first.status, first.reasons) == ("ok", ())
    assert (second.status, second.reasons, second.label) == ("review", (RECOMPUTED,), "erythroblast")


def test_the_reason_recomputed_comes_before_the_review_reasons(cell: Reading):
    shipped = load_bundle()
    far = np.full((1, 3968), 9, np.float32)
    (prediction,) = said(shipped, replace(outputs(6), recomputed=np.array([True]), features=far), cell)
    assert prediction.reasons[0] == RECOMPUTED
    assert any(reason.startswith("unlike the training cells") for reason in prediction.reasons[1:])
    assert prediction.distance is not None and prediction.stain is not None
    assert shipped.temperature != 1
    np.testing.assert_array_equal(prediction.probabilities, softmax(outputs(6).logits, shipped.temperature)[0])


def test_no_cell_of_a_bundle_that_was_never_calibrated_is_ok(bundle: Bundle, cell: Reading):
    (prediction,) = said(uncalibrated(bundle), outputs(6), cell)
    assert (prediction.status, prediction.reasons, prediction.distance) == ("review", ("not calibrated",), None)


def test_a_model_without_maps_has_no_heat_map(bundle: Bundle, cell: Reading):
    (prediction,) = said(bundle, replace(outputs(6), cams=None), cell)
    assert (prediction.label, prediction.heat_map) == ("neutrophil", None)


def test_probabilities_of_any_logits_add_up_to_one():
    logits = np.array([[1000, 999, -1000], [-1000, -1000, -1000], [0, np.log(2), np.log(3)]], np.float32)
    probabilities = softmax(logits)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_allclose(probabilities[2], [1 / 6, 2 / 6, 3 / 6], rtol=1e-6)
    np.testing.assert_allclose(softmax(logits[2:], 0.5)[0], [1 / 14, 4 / 14, 9 / 14], rtol=1e-6)


def test_colours_that_may_be_wrong_are_for_review(bundle: Bundle, cell: Reading):
    doubtful = replace(cell, doubt="colour profile damaged, not applied")
    first, second = said(bundle, outputs(6, 2), cell, doubtful)
    assert (first.status, second.status, second.label) == ("ok", "review", "erythroblast")
    assert second.reasons == ("colour profile damaged, not applied",)
