import pytest

from cartcls.export.classes import cell_classes, unknown_cells
from cartcls.runtime.bundle.bundle import load_bundle

SHIPPED = (
    "This model has no class for blasts, atypical lymphocytes, plasma cells or CAR-T cells: it calls them something"
    " else. None listed does not mean none present."
)


def always_seen(*names: str) -> list[str]:
    return [entry.name for entry in cell_classes(names) if entry.always_review]


def test_known_names_get_their_kind_and_others_a_colour():
    classes = cell_classes(["CAR-T", "Erythroblast", "lymphocyte", "platelet", "Immature_Granulocyte", "blast"])
    assert [entry.kind for entry in classes] == ["other", "nrbc", "leukocyte", "platelet", "leukocyte", "leukocyte"]
    assert classes[4].title == "immature granulocyte"
    assert [entry.name for entry in classes][1] == "Erythroblast"
    assert len({entry.color for entry in classes}) == 6


def test_a_person_always_sees_immature_and_rare_cells():
    assert always_seen("basophil", "eosinophil", "Erythroblast", "ig", "lymphocyte", "monocyte", "platelet") == [
        *("basophil", "Erythroblast", "ig")
    ]
    immature = ["blast", "promyelocyte", "myelocyte", "metamyelocyte"]
    assert always_seen(*immature, "neutrophil") == immature
    assert always_seen(*immature, "CAR-T") == immature


def test_a_bundle_made_to_tell_such_cells_apart_may_mark_them_ok():
    assert always_seen("metamyelocyte", "myelocyte") == []


def test_the_shipped_bundle_is_described_as_export_describes_it():
    bundle = load_bundle()
    assert bundle.classes == tuple(cell_classes([entry.name for entry in bundle.classes]))
    assert bundle.manifest.unknown_cells == unknown_cells(bundle.classes) == SHIPPED


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["a", "b", "CAR-T"],
            "no class for blasts, atypical lymphocytes or plasma cells: it calls them something else.",
        ),
        (["erythroblast", "b", "car t cells"], "no class for blasts, atypical lymphocytes or plasma cells:"),
        (["myeloblast", "b", "plasma_cell"], "no class for atypical lymphocytes or CAR-T cells:"),
        (["Blast", "reactive-lymphocyte", "CAR_T"], "no class for plasma cells: it calls them something else."),
        (
            ["lymphoblast", "lymphocyte_atypical", "plasmacell", "CART", "CAR-T"],
            "This model has only its 5 classes: it calls every other cell one of them.",
        ),
        (
            ["metamyelocyte", "myelocyte"],
            "This model tells only metamyelocyte and myelocyte apart: it calls every other cell one of them.",
        ),
    ],
)
def test_what_has_no_class_is_said_for_any_classes(names: list[str], said: str):
    sentence = unknown_cells(cell_classes(names))
    assert said in sentence
    assert sentence.endswith(" None listed does not mean none present.")


def test_classes_that_a_model_had_before_are_named_first():
    before = cell_classes(["eosinophil", "ig", "lymphocyte", "neutrophil"])
    sentence = unknown_cells(cell_classes(["lymphocyte", "monocyte", "neutrophil"]), before)
    assert sentence.startswith(
        "This model has no class for eosinophil, immature granulocyte, blasts, atypical lymphocytes"
    )
    assert unknown_cells(before, before) == unknown_cells(before)
