import pytest

from cartcls.calibration.classes import classes_of_folders
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import DataError


def test_a_folder_has_the_name_of_a_class_or_its_title(bundle: Bundle):
    assert classes_of_folders(["ig", "Immature Granulocyte", "monocyte", "ig"], bundle) == {
        "ig": "ig",
        "Immature Granulocyte": "ig",
        "monocyte": "monocyte",
    }


def test_other_folders_are_refused_with_names_and_titles(bundle: Bundle):
    problem = r"has no class blast, CAR-T: its classes are basophil, .*, ig \(immature granulocyte\), lymphocyte"
    with pytest.raises(DataError, match=problem.replace("blast, CAR-T", "CAR-T, blast")):
        classes_of_folders(["blast", "CAR-T", "ig"], bundle)
