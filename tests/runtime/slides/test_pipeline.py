from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from fakes import FakeBackend, adjusting

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.images.adjust import Adjustment
from cartcls.runtime.images.reading import Reading, read_cell
from cartcls.runtime.images.thumbnail import pack
from cartcls.runtime.inference.predictions import Prediction, interpret, rejected
from cartcls.runtime.slides.pipeline import THUMBNAILS, Row, make_cell, with_thumbnails

GONE = rejected("gone.jpg", Reading(error="has vanished", sha256="f" * 64, width=3, height=4))


@pytest.fixture(scope="module")
def prediction(slide: Path, bundle: Bundle) -> Prediction:
    """A real cell, called an eosinophil."""
    reading = read_cell(slide / "cell-01.jpg", bundle.width, bundle.height)
    assert reading.image is not None
    (found,) = interpret(["cell-01.jpg"], [reading], FakeBackend().infer(reading.image[None]), bundle)
    return found


@pytest.fixture
def report(tmp_path: Path) -> Path:
    (tmp_path / THUMBNAILS).mkdir()
    return tmp_path


def row(prediction: Prediction, seq: int) -> Row:
    return Row(prediction, make_cell(prediction, seq, "a.jpg"))


def test_a_row_holds_what_was_predicted(prediction: Prediction):
    cell = make_cell(prediction, 7, "a/b.jpg", (7, "a/b.jpg"))
    assert (cell.seq, cell.path, cell.status, cell.reason) == (7, "a/b.jpg", "ok", "")
    assert (cell.label, cell.confidence) == ("eosinophil", prediction.confidence)
    assert cell.probabilities == tuple(prediction.probabilities)
    assert (cell.sha256, cell.width, cell.height) == (prediction.reading.sha256, 360, 363)
    assert prediction.cams is not None
    assert (cell.thumbnail, cell.maps) == ("thumbnails/000007.jpg", pack(prediction.cams))
    assert not cell.path_encoded
    assert make_cell(prediction, 7, "a%FF.jpg", path_encoded=True).path_encoded


def test_heat_is_drawn_where_the_cell_is_not_where_the_model_saw_it(slide: Path, bundle: Bundle, report: Path):
    larger = adjusting(bundle, Adjustment(2.0))
    reading = read_cell(slide / "cell-01.jpg", larger.width, larger.height, larger.adjustment)
    assert reading.image is not None
    (found,) = interpret(["cell-01.jpg"], [reading], FakeBackend().infer(reading.image[None]), larger)
    list(with_thumbnails([[row(found, 1)]], report, larger))
    with PIL.Image.open(report / THUMBNAILS / "000001.jpg") as picture:
        panels = np.asarray(picture)[:180].astype(int)
    width = panels.shape[1] // 2
    changed = np.abs(panels[:, :width] - panels[:, width:]).max(2) > 40
    assert changed[60:120, width // 3 : 2 * width // 3].mean() > 0.9
    assert not changed[:30].any() and not changed[-30:].any() and not changed[:, :30].any()


def found_by(backend: FakeBackend, slide: Path, bundle: Bundle) -> Prediction:
    reading = read_cell(slide / "cell-01.jpg", bundle.width, bundle.height, bundle.adjustment)
    assert reading.image is not None
    (found,) = interpret(["cell-01.jpg"], [reading], backend.infer(reading.image[None]), bundle)
    return found


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ((0.25, 0.5, 0.5, 0.25), (90, 182, 180, 90)),
        ((0, 0, 1, 1), (0, 0, 360, 363)),
        ((0.999, 0.999, 0.001, 0.001), (360, 363, 0, 0)),
    ],
)
def test_a_row_holds_the_box_in_whole_pixels_of_the_picture(
    slide: Path, bundle: Bundle, box: tuple[float, float, float, float], pixels: tuple[int, ...]
):
    cell = make_cell(found_by(FakeBackend(box=box), slide, bundle), 1, "a.jpg")
    assert cell.box_found == pixels
    assert all(type(value) is int for value in pixels)
    assert cell.box is None  # which is of a field


def test_box_and_attention_are_drawn_where_the_cell_is(slide: Path, bundle: Bundle, report: Path):
    larger = adjusting(bundle, Adjustment(2.0))
    found = found_by(FakeBackend(box=(0.0, 0.0, 1.0, 1.0), attention=True), slide, larger)
    made = row(found, 1)
    assert made.cell is not None and found.attention is not None and found.cams is not None
    assert made.cell.box_found == (90, 91, 180, 181)
    assert made.cell.maps == pack(found.cams, found.attention)
    list(with_thumbnails([[made]], report, larger))
    with PIL.Image.open(report / THUMBNAILS / "000001.jpg") as picture:
        cell, _, attention = np.split(np.asarray(picture)[:180].astype(int), 3, axis=1)
    assert found.reading.small is not None
    line = np.abs(cell - found.reading.small).max(2) > 50
    rows, columns = np.flatnonzero(line.sum(1) > 60), np.flatnonzero(line.sum(0) > 60)
    assert (rows[0], rows[-1]) == pytest.approx((45, 134), abs=2)
    assert (columns[0], columns[-1]) == pytest.approx((45, 133), abs=2)
    changed = np.abs(attention - cell).max(2) > 40
    assert changed[100:130, 100:130].mean() > 0.9 and not changed[:30].any()


def test_what_a_person_must_look_at_says_all_reasons_and_how_far_it_is(prediction: Prediction):
    doubted = replace(prediction, reasons=("out of focus", "noisy"), distance=3.5, stain=2.5)
    cell = make_cell(doubted, 1, "a.jpg")
    assert (cell.status, cell.reason) == ("review", "out of focus; noisy")
    assert (cell.distance, cell.stain) == (3.5, 2.5)


def test_the_same_bytes_as_an_earlier_image_are_a_duplicate_that_keeps_its_label(prediction: Prediction):
    doubted = replace(prediction, reasons=("out of focus",))
    cell = make_cell(doubted, 2, "b.jpg", (1, "a.jpg"))
    assert (cell.status, cell.reason, cell.label) == ("duplicate", "same bytes as a.jpg", "eosinophil")
    assert cell.thumbnail == "thumbnails/000002.jpg"


def test_what_has_no_label_is_rejected_whatever_else_has_its_bytes():
    cell = make_cell(GONE, 3, "b.jpg", (1, "a.jpg"))
    assert (cell.status, cell.reason, cell.label) == ("rejected", "has vanished", None)
    assert (cell.thumbnail, cell.maps, cell.width, cell.height, cell.probabilities) == (None, b"", None, None, ())
    assert cell.sha256 == "f" * 64


def test_a_batch_comes_once_its_thumbnails_are_there_while_one_more_is_computed(
    prediction: Prediction, report: Path, bundle: Bundle
):
    computed: list[int] = []

    def batches() -> Iterator[list[Row]]:
        for first in (1, 3, 5):
            computed.append(first)
            yield [row(prediction, first), row(prediction, first + 1)]

    seen: list[tuple[list[int], list[int]]] = []
    for batch in with_thumbnails(batches(), report, bundle):
        cells = [row.cell for row in batch if row.cell]
        assert all((report / str(cell.thumbnail)).exists() for cell in cells)
        seen.append(([cell.seq for cell in cells], computed.copy()))
    assert seen == [([1, 2], [1, 3]), ([3, 4], [1, 3, 5]), ([5, 6], [1, 3, 5])]


def test_a_thumbnail_is_of_its_cell_and_rows_without_a_label_have_none(
    prediction: Prediction, report: Path, bundle: Bundle
):
    rows = [Row(GONE, make_cell(GONE, 1, "a.jpg")), row(prediction, 2), Row(prediction, None)]
    assert list(with_thumbnails([rows, []], report, bundle)) == [rows, []]
    (picture,) = (report / THUMBNAILS).iterdir()
    assert picture.name == "000002.jpg"
    assert prediction.reading.small is not None
    with PIL.Image.open(picture) as image:
        crop = np.asarray(image, int)[: prediction.reading.small.shape[0], : prediction.reading.small.shape[1]]
    assert np.abs(crop - prediction.reading.small).mean() < 3


def test_what_fails_while_drawing_comes_through(prediction: Prediction, tmp_path: Path, bundle: Bundle):
    nowhere = tmp_path / "none"
    drawn = with_thumbnails([[Row(GONE, None)], [row(prediction, 1)]], nowhere, bundle)
    assert len(next(drawn)) == 1
    with pytest.raises(FileNotFoundError, match=r"none/thumbnails/"):
        next(drawn)


def test_what_fails_while_computing_comes_through(prediction: Prediction, report: Path, bundle: Bundle):
    def batches() -> Iterator[list[Row]]:
        yield [row(prediction, 1)]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(with_thumbnails(batches(), report, bundle))
