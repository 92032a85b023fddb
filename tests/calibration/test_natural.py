import numpy as np
import pytest

from cartcls.calibration.natural import NATURAL, natural_mix, natural_sample
from cartcls.export.classes import cell_classes
from cartcls.runtime.bundle.bundle import Bundle


def test_the_classes_of_the_mix_are_found_by_name_or_title(bundle: Bundle):
    assert natural_mix(bundle.classes) == NATURAL
    others = ["Neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "immature granulocyte", "blast"]
    found = natural_mix(cell_classes(others))
    assert found is not None
    assert list(found) == others[:-1]
    assert natural_mix(cell_classes(["metamyelocyte", "myelocyte"])) is None


def test_as_many_cells_as_the_scarcest_class_allows_are_chosen_once_each(bundle: Bundle):
    names = [entry.name for entry in bundle.classes]
    labels = np.repeat(np.arange(8), 97)
    chosen = natural_sample(labels, names, NATURAL)
    assert len(set(chosen.tolist())) == len(chosen) == 161
    counts = dict(zip(names, np.bincount(labels[chosen], minlength=8).tolist(), strict=True))
    assert (counts["erythroblast"], counts["platelet"]) == (0, 0)
    for name, share in NATURAL.items():
        assert counts[name] == pytest.approx(161 * share, abs=1)
    assert natural_sample(labels, names, NATURAL).tolist() == chosen.tolist()
    scarce = np.concatenate([labels, np.full(1000, names.index("neutrophil"))])
    assert len(natural_sample(scarce, names, NATURAL)) == 334  # 97 lymphocytes are 29 % of 334
