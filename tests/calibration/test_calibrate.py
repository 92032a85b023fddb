import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from fakes import KnowingBackend
from msgspec import structs

from cartcls.calibration.calibrate import PARTS, calibrate, check_parts
from cartcls.calibration.evidence import Evidence, gather
from cartcls.calibration.split import Split
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import DataError
from cartcls.runtime.images.quality import measure
from cartcls.runtime.images.resize import Image


def nothing(done: int, count: int) -> None:
    pass


def test_the_record_says_what_was_measured_on_what(calibrated: Bundle):
    record = calibrated.manifest.calibration
    assert record is not None
    assert record.parts == {"fit": 320, "select": 160, "calibrate": 640}
    assert record.calibrate.count == record.promise.cells == 640
    assert record.promise.reached
    assert record.promise.wrong == record.promise.chosen.wrong < record.promise.passing * 0.05
    thresholds = [step.threshold for step in record.promise.steps]
    assert thresholds == sorted(thresholds, reverse=True)
    assert record.calibrate.reasons["any"] == 640 - round(640 * record.promise.coverage)
    rows = record.calibrate.per_class.values()
    assert sum(row.passing - row.right for row in rows) == record.promise.wrong
    confusion = np.array(record.calibrate.confusion)
    assert confusion.sum(1).tolist() == [80] * 8
    assert confusion.trace() == round(640 * record.calibrate.accuracy)
    assert confusion[0, 1] > 0 == confusion[1, 0]  # what is wrong has the label of the next class
    assert record.threshold == calibrated.calibration.threshold  # pyright: ignore[reportOptionalMemberAccess]
    assert (record.backend, record.precision) == ("fake", "f32")


def test_two_classes_are_calibrated_too(bundle: Bundle, crops: Image):
    two = replace(bundle, manifest=structs.replace(bundle.manifest, classes=bundle.classes[:2]))
    random = np.random.default_rng(0)
    qualities = [measure(crop, 360, 363) for crop in crops]

    def evidence(count: int) -> Evidence:
        labels = np.arange(count) % 2
        logits = (random.normal(size=(count, 2)) + 3 * np.eye(2)[labels]).astype(np.float32)
        features = (random.normal(size=(count, 16)) + 5 * labels[:, None]).astype(np.float32)
        return Evidence(labels, logits, features, [qualities[i % 32] for i in range(count)])

    parts = {"fit": evidence(320), "select": evidence(20), "calibrate": evidence(40)}
    split = Split({}, groups={}, sha256=bundle.manifest.source.split_sha256)
    made = calibrate(two, KnowingBackend({}), parts, split, 0.01)
    assert made.record.split_of_training
    assert list(made.record.calibrate.per_class) == ["basophil", "eosinophil"]
    again = calibrate(two, KnowingBackend({}), {**parts, "calibrate": evidence(2000)}, split, 0.2).record.promise
    assert again.sentence.endswith("which takes tens of patients in `calibrate`")


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (0, r"not calibrated: at least 299 labelled cells that pass the checks are needed, there are (\d+)"),
        (
            20,
            r"not calibrated: at least 2\d{3} labelled cells that pass the checks are needed, there are (\d+),"
            r" and \d+ of them are wrong",
        ),
    ],
)
def test_where_the_error_asked_for_cannot_be_guaranteed_no_cell_is_ok(
    bundle: Bundle, crops: Image, labels: dict[str, str], wrong: int, problem: str
):
    random, names = np.random.default_rng(0), [entry.name for entry in bundle.classes]
    true = np.array([names.index(label) for label in labels.values()])
    qualities = [measure(crop, 360, 363) for crop in crops]

    def evidence(times: int, wrong: int = 0) -> Evidence:
        answers = np.tile(true, times)
        answers[:wrong] = (answers[:wrong] + 1) % 8
        logits = (9 * np.eye(8)[answers] + random.normal(size=(len(answers), 8))).astype(np.float32)
        features = (random.normal(size=(len(answers), 16)) + 5 * np.tile(true, times)[:, None]).astype(np.float32)
        return Evidence(np.tile(true, times), logits, features, qualities * times)

    parts = {"fit": evidence(5), "select": evidence(2, 1), "calibrate": evidence(2, wrong)}
    record = calibrate(bundle, KnowingBackend({}), parts, Split({}, groups=None, sha256="0"), 0.01).record
    guarantee = record.promise
    found = re.fullmatch(problem, guarantee.problem)
    assert found
    assert int(found[1]) == guarantee.chosen.passing > 30
    assert (guarantee.reached, guarantee.error, guarantee.natural) == (False, None, None)
    assert guarantee.passing == guarantee.coverage == 0
    assert guarantee.sentence.startswith(
        "no cell is marked ok: that at most 1.00% of them are wrong cannot be guaranteed"
    )
    assert record.calibrate.reasons["any"] == record.calibrate.reasons["not calibrated"] == 64
    assert all(row.passing == 0 for row in record.calibrate.per_class.values())
    assert record.rare_classes == ""


def test_confidences_are_nearer_the_truth_than_before(calibrated: Bundle):
    assert calibrated.manifest.calibration is not None
    figures = calibrated.manifest.calibration.calibrate
    assert figures.ece_equal_mass.value < figures.uncalibrated.value < 0.3
    assert figures.accuracy == pytest.approx(figures.confidence, abs=0.02)


@pytest.mark.parametrize(
    ("part", "labels", "problem"),
    [
        ("select", ["basophil"] * 99, "the part `select` has no cell of eosinophil, erythroblast, ig"),
        ("fit", ["basophil"] * 99, "the part `fit` has no cell of eosinophil, erythroblast, ig"),
        ("calibrate", None, "the part `calibrate` has 12 cells: at least 30 are needed, and 299 in `calibrate`"),
    ],
)
def test_cells_that_allow_no_calibration_are_refused_before_anything_is_computed(
    bundle: Bundle, part: str, labels: list[str] | None, problem: str
):
    names = [entry.name for entry in bundle.classes]
    given = {name: names * 10 for name in PARTS} | {part: labels or [*names, *names[:4]]}
    with pytest.raises(DataError, match=problem):
        check_parts(given, bundle, 0.01)


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path, bundle: Bundle, knowing: KnowingBackend):
    (tmp_path / "ig").mkdir()
    (tmp_path / "ig" / "broken.jpg").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"ig/broken\.jpg .* take it out"):
        gather(tmp_path, ["ig/broken.jpg"], Classifier(bundle, knowing), nothing)


def test_an_image_whose_colours_may_be_wrong_is_named(
    tmp_path: Path, slide: Path, bundle: Bundle, knowing: KnowingBackend
):
    (tmp_path / "ig").mkdir()
    with PIL.Image.open(slide / "cell-01.jpg") as image:
        image.save(tmp_path / "ig" / "cell.png", icc_profile=b"junk")
    with pytest.raises(DataError, match=r"ig/cell\.png cannot be trusted: colour profile damaged, .* take it out"):
        gather(tmp_path, ["ig/cell.png"], Classifier(bundle, knowing), nothing)
