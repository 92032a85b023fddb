"""A laboratory's labelled cells, and what a bundle says of them."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..runtime.bundle.bundle import Bundle
from ..runtime.errors import DataError
from ..runtime.reports.export_reviewed import GROUPS
from .cross_validation import BY_GROUP, BY_IMAGE, Indices, LabelledCells, labelled_cells
from .evidence import Evidence
from .exports import read_export
from .reviewed import Reviewed, check_enough, folds_of_whole, read_reviewed
from .views import Views

FOLDS = 5


@dataclass(frozen=True, eq=False)
class OwnCells:
    """N labelled cells of one laboratory.

    Attributes:
        directory: Their folder.
        cells: Their labels. A class that the bundle has is named as there, another as its folder.
        views: What the backend says of them.
        reviewed: How their slides were reviewed, where they are an export.
    """

    directory: Path
    cells: LabelledCells
    views: Views
    reviewed: Reviewed | None = None

    @property
    def tested_at(self) -> Indices:
        """Places of the T cells that may be tested, ascending, (T,)."""
        return np.flatnonzero(_may_be_tested(self.cells, self.reviewed))

    @property
    def tested(self) -> LabelledCells:
        """The cells that may be tested."""
        return self.cells.of(self.tested_at)

    @property
    def untested(self) -> int:
        """Number of cells of flagged slides, which train the head and nothing else."""
        return len(self.cells.labels) - len(self.tested_at)

    @property
    def slides(self) -> int | None:
        """Number of slides or patients of the tested cells; None where they are not known."""
        groups = self.tested.groups
        return None if groups is None else len(set(groups))

    @property
    def unit(self) -> str:
        """How every figure of the cross-validation is marked."""
        return BY_IMAGE if self.cells.groups is None else BY_GROUP

    @property
    def in_words(self) -> str:
        """The unit, and what was not tested."""
        return "; ".join(filter(None, (self.unit, _untested(self.untested))))

    @property
    def sha256(self) -> str:
        """Digest of paths, classes and groups, and of what was not tested."""
        groups = self.cells.groups or [""] * len(self.cells.paths)
        rows = [
            f"{path},{self.cells.classes[label]},{group}"
            for path, label, group in zip(self.cells.paths, self.cells.labels, groups, strict=True)
        ]
        if self.untested:
            rows += [f"tested,{path}" for path in self.tested.paths]
        return hashlib.sha256("\n".join(rows).encode(errors="surrogateescape")).hexdigest()

    def folds(self, seed: int) -> list[tuple[Indices, Indices]]:
        """Cells to fit on and to test, by fold."""
        return folds_of_whole(self.cells, _may_be_tested(self.cells, self.reviewed), FOLDS, seed)

    def evidence(self, logits: npt.NDArray[np.float32], features: npt.NDArray[np.float32]) -> Evidence:
        """Of the tested cells, with logits (T, K) of some head and the features (T, D) that they are made of."""
        places = self.tested_at
        qualities = [self.views.qualities[place] for place in places]
        return Evidence(self.cells.labels[places], logits, features, qualities)


def find_own_cells(
    directory: Path, groups_file: Path | None, bundle: Bundle, notify: Callable[[str], None]
) -> tuple[LabelledCells, Reviewed | None]:
    """List a laboratory's labelled cells, and make sure that they can be cross-validated.

    Args:
        directory: Folder with one folder of images per class; of an export, slides that were reviewed whole are tested.
        groups_file: CSV with the columns path and slide (or patient, or group); None where they are not known, or for
            that of an export.
        bundle: What is to be adapted. A folder with the name or title of one of its classes is that class.
        notify: Called with a line of what was left out, and of what is tested.

    Returns:
        The cells, and how their slides were reviewed, where they are an export.

    Raises:
        DataError: There are too few classes, cells or groups, two folders are the same class, or two classes have the
            same image.
    """
    if groups_file is None and read_export(directory):
        groups_file = directory / GROUPS
        notify(f"slides are those of {groups_file}, which `cartcls correct --export` wrote")
    found = labelled_cells(directory, groups_file, notify)
    known = {entry.title.casefold(): entry.name for entry in bundle.classes}
    known |= {entry.name.casefold(): entry.name for entry in bundle.classes}
    names = [known.get(folder.casefold(), folder) for folder in found.classes]
    if twice := [name for name, count in Counter(map(str.casefold, names)).items() if count > 1]:
        same = [folder for folder, name in zip(found.classes, names, strict=True) if name.casefold() == twice[0]]
        raise DataError(f"{directory}: {' and '.join(same)} are the same class: move their images into one folder")
    cells = replace(found, classes=names)
    reviewed = read_reviewed(directory, cells)
    if reviewed:
        check_enough(directory, cells, reviewed, FOLDS)
        if line := _untested(int((~reviewed.whole).sum())):
            notify(line)
    try:
        folds_of_whole(cells, _may_be_tested(cells, reviewed), FOLDS, 0)
    except DataError as error:
        raise DataError(f"{directory}: {error}") from None
    return cells, reviewed


def _untested(count: int) -> str:
    """What was done with cells of flagged slides; empty where there are none."""
    if not count:
        return ""
    return f"{count} {'cell' if count == 1 else 'cells'} of flagged slides trained the head and were not tested"


def _may_be_tested(cells: LabelledCells, reviewed: Reviewed | None) -> npt.NDArray[np.bool_]:
    return reviewed.whole if reviewed else np.ones(len(cells.paths), np.bool_)
