"""A laboratory's labelled cells, and what a bundle says of them."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..runtime.bundle.bundle import Bundle
from ..runtime.errors import DataError
from .cross_validation import BY_GROUP, BY_IMAGE, Indices, LabelledCells, folds, labelled_cells
from .views import Views

FOLDS = 5


@dataclass(frozen=True, eq=False)
class OwnCells:
    """N labelled cells of one laboratory.

    Attributes:
        directory: Their folder.
        cells: Their labels. A class that the bundle has is named as there, another as its folder.
        views: What the backend says of them.
    """

    directory: Path
    cells: LabelledCells
    views: Views

    @property
    def slides(self) -> int | None:
        """Number of slides or patients; None where they are not known."""
        return None if self.cells.groups is None else len(set(self.cells.groups))

    @property
    def unit(self) -> str:
        """How every figure of the cross-validation is marked."""
        return BY_IMAGE if self.cells.groups is None else BY_GROUP

    @property
    def sha256(self) -> str:
        """Digest of paths, classes and groups."""
        groups = self.cells.groups or [""] * len(self.cells.paths)
        rows = [
            f"{path},{self.cells.classes[label]},{group}"
            for path, label, group in zip(self.cells.paths, self.cells.labels, groups, strict=True)
        ]
        return hashlib.sha256("\n".join(rows).encode(errors="surrogateescape")).hexdigest()

    def folds(self, seed: int) -> list[tuple[Indices, Indices]]:
        """Cells to fit on and to test, by fold."""
        return folds(self.cells, FOLDS, seed)


def find_own_cells(
    directory: Path, groups_file: Path | None, bundle: Bundle, notify: Callable[[str], None]
) -> LabelledCells:
    """List a laboratory's labelled cells, and make sure that they can be cross-validated.

    Args:
        directory: Folder with one folder of images per class.
        groups_file: CSV with the columns path and slide (or patient, or group); None where they are not known.
        bundle: What is to be adapted. A folder with the name or title of one of its classes is that class.
        notify: Called with a line of what was left out.

    Raises:
        DataError: There are too few classes, cells or groups, two folders are the same class, or two classes have the
            same image.
    """
    found = labelled_cells(directory, groups_file, notify)
    known = {entry.title.casefold(): entry.name for entry in bundle.classes}
    known |= {entry.name.casefold(): entry.name for entry in bundle.classes}
    names = [known.get(folder.casefold(), folder) for folder in found.classes]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        same = [folder for folder, name in zip(found.classes, names, strict=True) if name == twice[0]]
        raise DataError(f"{directory}: {' and '.join(same)} are the same class: move their images into one folder")
    cells = replace(found, classes=names)
    folds(cells, FOLDS, 0)
    return cells
