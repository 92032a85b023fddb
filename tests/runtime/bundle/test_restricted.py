import numpy as np
import pytest
from fakes import adjusting

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.bundle.restricted import restricted
from cartcls.runtime.errors import UsageError
from cartcls.runtime.images.adjust import Adjustment
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference.backend import Backend
from cartcls.runtime.inference.classifier import Classifier
from cartcls.runtime.inference.predictions import UNDECIDED


def test_names_and_titles_are_accepted_and_no_cell_can_be_ok(bundle: Bundle):
    found = restricted(bundle, ["Immature Granulocyte", " NEUTROPHIL ", "ig"])
    assert found.manifest.restricted_to == ("ig", "neutrophil")
    assert found.problem == "not calibrated for an answer restricted to immature granulocyte, neutrophil (--classes)"
    assert not found.calibrated
    assert found.calibration is not None
    assert not found.calibration.reached
    assert found.sha256 == bundle.sha256


def test_the_report_is_still_a_differential_while_there_are_leukocytes(bundle: Bundle):
    assert restricted(bundle, ["ig", "neutrophil"]).report == "differential"
    assert restricted(bundle, ["erythroblast", "neutrophil"]).report == "differential"
    assert restricted(bundle, ["erythroblast", "platelet"]).report == "finding"


def test_pictures_are_adjusted_as_before(bundle: Bundle):
    assert restricted(adjusting(bundle, Adjustment(0.7)), ["ig", "neutrophil"]).adjustment == Adjustment(0.7)


@pytest.mark.parametrize("wanted", [["blast", "ig"], ["ig"], ["ig", "immature granulocyte"], [""]])
def test_other_names_and_fewer_than_two_are_refused_with_those_that_there_are(bundle: Bundle, wanted: list[str]):
    with pytest.raises(UsageError, match="basophil, eosinophil, erythroblast, ig, lymphocyte"):
        restricted(bundle, wanted)


def test_the_answer_is_one_of_the_classes_and_undecided_where_another_is_likelier(
    bundle: Bundle, backend: Backend, crops: Image
):
    whole = list(Classifier(bundle, backend).predict(crops[:8]))
    names = [entry.name for entry in bundle.classes]
    wanted = [whole[0].label or "", next(p.label for p in whole if p.label != whole[0].label) or ""]
    few = list(Classifier(restricted(bundle, wanted), backend).predict(crops[:8]))
    assert any(before.label not in wanted for before in whole)
    for before, after in zip(whole, few, strict=True):
        assert after.label in wanted
        assert after.status == "review"
        assert (UNDECIDED in after.reasons) == (before.label not in wanted)
        assert np.isclose(after.probabilities.sum(), 1)
        assert not any(after.probabilities[names.index(name)] for name in names if name not in wanted)
        assert np.array_equal(before.logits, after.logits)
