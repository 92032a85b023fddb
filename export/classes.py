"""Classes by their usual folder names: how they are shown and counted, and which a person always sees."""

import re
from collections.abc import Sequence

from msgspec.structs import replace

from ..runtime.bundle.manifest import CellClass

_KNOWN = {
    entry.name: entry
    for entry in (
        CellClass("basophil", "basophil", "leukocyte", "#4b3f9e", always_review=True),
        CellClass("blast", "blast", "leukocyte", "#a33b2a", always_review=True),
        CellClass("eosinophil", "eosinophil", "leukocyte", "#d9573f"),
        CellClass("erythroblast", "erythroblast", "nrbc", "#8c2d5a", always_review=True),
        CellClass("ig", "immature granulocyte", "leukocyte", "#2f8f83", always_review=True),
        CellClass("lymphocyte", "lymphocyte", "leukocyte", "#2f76c4"),
        CellClass("metamyelocyte", "metamyelocyte", "leukocyte", "#5aa469", always_review=True),
        CellClass("monocyte", "monocyte", "leukocyte", "#7a8796"),
        CellClass("myelocyte", "myelocyte", "leukocyte", "#1f6f5c", always_review=True),
        CellClass("neutrophil", "neutrophil", "leukocyte", "#e0a526"),
        CellClass("platelet", "platelet", "platelet", "#c68fd0"),
        CellClass("promyelocyte", "promyelocyte", "leukocyte", "#9bbf3b", always_review=True),
    )
}
_SPARE_COLORS = ("#0f6e8c", "#b0413e", "#a5761f", "#3f7d20", "#6a3fa0", "#c2528b", "#566270", "#00876c")
_OFTEN_UNKNOWN = {
    "blasts": r"\b(myelo|lympho|mono)?blast",
    "atypical lymphocytes": r"\b(atypical|reactive|variant) lymph|\blymphocytes? (atypical|reactive|variant)",
    "plasma cells": r"\bplasma ?c",
    "CAR-T cells": r"\bcar ?t\b",
}
"""Cells of the blood that a laboratory must not miss, and how a class of them is named."""

_NONE_LISTED = "None listed does not mean none present."


def cell_classes(names: Sequence[str]) -> list[CellClass]:
    """Describe classes by their folder names: usual names or titles; one that is not known counts as `other`.

    A person always looks at cells of immature and of rare classes. If that were every class, it is none: such a bundle
    is made to tell them apart, and no cell could be `ok`.
    """
    spare = iter(_SPARE_COLORS * len(names))
    known = _KNOWN | {entry.title: entry for entry in _KNOWN.values()}
    usual = [known.get(_plain(name)) for name in names]
    found = [
        replace(entry, name=name) if entry else CellClass(name, name, "other", next(spare))
        for name, entry in zip(names, usual, strict=True)
    ]
    if all(entry.always_review for entry in found):
        return [replace(entry, always_review=False) for entry in found]
    return found


def unknown_cells(classes: Sequence[CellClass], before: Sequence[CellClass] = ()) -> str:
    """What a person must know of the cells that none of these classes is for.

    Args:
        classes: Of a model.
        before: Of the model that it was made from.
    """
    titles = [entry.title for entry in classes]
    others = f"it calls every other cell one of them. {_NONE_LISTED}"
    if len(titles) == 2:
        return f"This model tells only {titles[0]} and {titles[1]} apart: {others}"
    plain = [_plain(text) for entry in classes for text in (entry.name, entry.title)]
    missing = [cells for cells, named in _OFTEN_UNKNOWN.items() if not any(re.search(named, text) for text in plain)]
    missing = [entry.title for entry in before if entry.title not in titles] + missing
    if not missing:
        return f"This model has only its {len(titles)} classes: {others}"
    listed = " or ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
    return f"This model has no class for {listed}: it calls them something else. {_NONE_LISTED}"


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]+", " ", name.casefold())
