"""Classes by their usual folder names: title, kind and colour."""

from collections.abc import Sequence

from ..runtime.bundle.manifest import CellClass, Kind

_KNOWN: dict[str, tuple[str, Kind, str]] = {
    "basophil": ("basophil", "leukocyte", "#4b3f9e"),
    "eosinophil": ("eosinophil", "leukocyte", "#d9573f"),
    "erythroblast": ("erythroblast", "nrbc", "#8c2d5a"),
    "ig": ("immature granulocyte", "leukocyte", "#2f8f83"),
    "lymphocyte": ("lymphocyte", "leukocyte", "#2f76c4"),
    "metamyelocyte": ("metamyelocyte", "leukocyte", "#5aa469"),
    "monocyte": ("monocyte", "leukocyte", "#7a8796"),
    "myelocyte": ("myelocyte", "leukocyte", "#1f6f5c"),
    "neutrophil": ("neutrophil", "leukocyte", "#e0a526"),
    "platelet": ("platelet", "platelet", "#c68fd0"),
    "promyelocyte": ("promyelocyte", "leukocyte", "#9bbf3b"),
}
_SPARE_COLORS = ("#0f6e8c", "#b0413e", "#a5761f", "#3f7d20", "#6a3fa0", "#c2528b", "#566270", "#00876c")


def cell_classes(names: Sequence[str]) -> list[CellClass]:
    """Describe classes by their folder names; a name that is not known counts as `other`."""
    spare = iter(_SPARE_COLORS * len(names))
    return [CellClass(name, *(_KNOWN.get(name.lower()) or (name, "other", next(spare)))) for name in names]
