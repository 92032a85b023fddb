from dataclasses import replace

import numpy as np
import pytest
from fakes import KnowingBackend
from msgspec import structs

from cartcls.calibration.calibrate import Calibrated, calibrate
from cartcls.calibration.evidence import Evidence
from cartcls.calibration.risk import clopper_pearson_upper
from cartcls.calibration.split import Split
from cartcls.export.classes import cell_classes
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.images.quality import measure
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference.predictions import RARE

BY_IMAGE = Split({}, groups=None, sha256="0")


def calibrated_for(bundle: Bundle, crops: Image, split: Split = BY_IMAGE, classes: int = 8) -> Calibrated:
    """A calibration for made-up outputs of which 1 in 40 is wrong, and not always less sure."""
    random = np.random.default_rng(0)
    qualities = [measure(crop, 360, 363) for crop in crops]

    def evidence(count: int) -> Evidence:
        labels = np.arange(count) % classes
        answers = np.where(random.random(count) < 1 / 40, (labels + 1) % classes, labels)
        sure = np.where(answers == labels, 9, random.uniform(1, 6, count))
        logits = 0.5 * (random.normal(size=(count, classes)) + sure[:, None] * np.eye(classes)[answers])
        features = random.normal(size=(count, 16)) + 5 * labels[:, None]
        chosen = [qualities[i % 32] for i in range(count)]
        return Evidence(labels, logits.astype(np.float32), features.astype(np.float32), chosen)

    parts = {"fit": evidence(320), "select": evidence(320), "calibrate": evidence(960)}
    return calibrate(bundle, KnowingBackend({}), parts, split, 0.02)


def as_shipped(bundle: Bundle) -> Bundle:
    """With the classes that a person always sees, which `bundle` leaves out."""
    classes = tuple(cell_classes([entry.name for entry in bundle.classes]))
    return replace(bundle, manifest=structs.replace(bundle.manifest, classes=classes))


def test_classes_that_a_person_always_sees_lower_the_error_and_loosen_no_threshold(bundle: Bundle, crops: Image):
    plain, always = (calibrated_for(b, crops).record for b in (bundle, as_shipped(bundle)))
    assert always.promise.steps == plain.promise.steps
    assert (always.threshold, always.promise.chosen) == (plain.threshold, plain.promise.chosen)
    assert (plain.promise.passing, plain.promise.wrong) == (plain.promise.chosen.passing, plain.promise.chosen.wrong)
    assert always.promise.passing < plain.promise.passing
    assert 0 < always.promise.wrong < plain.promise.wrong
    assert always.promise.coverage == always.promise.passing / 960
    called = np.array(always.calibrate.confusion).sum(0)
    assert always.calibrate.reasons[RARE] == called[0] + called[2] + called[3]
    assert RARE not in plain.calibrate.reasons
    rows = always.calibrate.per_class
    assert sum(row.passing for row in rows.values()) == always.promise.passing
    assert [name for name, row in rows.items() if row.right_if_rare is None] == ["basophil", "erythroblast", "ig"]
    assert "marked ok as basophil" not in always.rare_classes


def test_what_is_held_is_told_as_a_share_of_all_cells_and_in_a_natural_mix(bundle: Bundle, crops: Image):
    promise = calibrated_for(as_shipped(bundle), crops).record.promise
    natural = promise.natural
    assert promise.reached
    assert clopper_pearson_upper(promise.wrong, promise.cells) < promise.chosen.bound <= promise.asked == 0.02
    assert natural is not None
    assert natural.cells == 200  # 120 neutrophils are 60 % of them
    assert natural.bound == clopper_pearson_upper(natural.wrong, 200)
    assert natural.wrong < 200 * 0.05
    assert promise.sentence.startswith(
        "at most 2.00% of all cells are wrong and marked ok, with 95% confidence, where each class looks as in"
        f" `calibrate` (split by image) and is as frequent: {promise.wrong} of 960 were; in a natural mix (neutrophil"
        " 60%, lymphocyte 29%, monocyte 6%, eosinophil 3%, basophil 1%, ig 1%)"
        f" {natural.wrong} of 200 were: at most {natural.bound:.2%}; "
    )


def test_other_classes_have_no_natural_mix(bundle: Bundle, crops: Image):
    two = replace(bundle, manifest=structs.replace(bundle.manifest, classes=bundle.classes[:2]))
    promise = calibrated_for(two, crops, classes=2).record.promise
    assert promise.reached
    assert promise.natural is None
    assert "natural mix" not in promise.sentence


@pytest.mark.parametrize(("slides", "word"), [(9, "estimated, no promise"), (10, "promised")])
def test_it_is_promised_on_cells_of_ten_slides(bundle: Bundle, crops: Image, slides: int, word: str):
    paths = {f"ig/{i}.jpg": f"slide {i % slides}" for i in range(100)}
    rest = {"ig/a.jpg": "another", "ig/b.jpg": "a further one"}
    split = Split(dict.fromkeys(paths, "calibrate") | dict.fromkeys(rest, "fit"), paths | rest, "0")
    promise = calibrated_for(bundle, crops, split).record.promise
    assert (promise.slides, promise.word) == (slides, word)
    assert "tens of patients in `calibrate`" in promise.sentence
