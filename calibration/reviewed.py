"""Which labelled cells may be tested: of an export of corrections, those of slides that were reviewed whole.

Flagged cells are harder than the others. A model may learn from them; figures and thresholds made on them are biased.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..runtime.bundle.calibration import Extent
from ..runtime.errors import DataError
from ..runtime.reports.export_reviewed import EXPORT, GROUPS
from .cross_validation import Indices, LabelledCells, folds
from .exports import read_export
from .groups import read_groups


@dataclass(frozen=True, eq=False)
class Reviewed:
    """How the slides of N labelled cells were reviewed.

    Attributes:
        extents: `all` or `flagged`, by the slide's name in `groups.csv`.
        whole: Whether each cell is of a slide that was reviewed whole, (N,).
    """

    extents: dict[str, Extent]
    whole: npt.NDArray[np.bool_]


def check_unbiased(data_dir: Path) -> None:
    """Refuse an export with slides of which only flagged cells were reviewed.

    Raises:
        DataError: It has some, or does not say.
    """
    export = read_export(data_dir)
    if export and export.reviewed != "all":
        raise DataError(
            f"{data_dir} holds corrections of slides of which only flagged cells were reviewed: figures and thresholds"
            " made on them would be biased. Review every cell of each slide in it, and export again; or use"
            " `cartcls adapt`, which tests only what was reviewed whole"
        )


def read_reviewed(data_dir: Path, cells: LabelledCells) -> Reviewed | None:
    """Find the slides of an export that were reviewed whole; None where the folder is no export.

    A cell of which a copy is on such a slide counts as of that slide.

    Raises:
        DataError: The export is damaged, or an image is not in its `groups.csv`.
    """
    export = read_export(data_dir)
    if export is None:
        return None
    extents: dict[str, Extent] = {
        slide.group: slide.reviewed for slide in export.slides if slide.exported and slide.group
    }
    paths = [*cells.paths, *cells.copy_of]
    slide_of = read_groups(data_dir / GROUPS, paths)
    if unknown := sorted({slide_of[path] for path in paths} - extents.keys()):
        raise DataError(f"{data_dir / EXPORT} does not tell how slide {unknown[0]} was reviewed: export again")
    whole = {cells.copy_of.get(path, path) for path in paths if extents[slide_of[path]] == "all"}
    return Reviewed(extents, np.array([path in whole for path in cells.paths]))


def check_enough(data_dir: Path, cells: LabelledCells, reviewed: Reviewed, count: int) -> None:
    """Make sure that there are cells to test, for so many folds.

    Raises:
        DataError: Too few slides were reviewed whole, or they have too few cells of a class.
    """
    tested = cells.of(np.flatnonzero(reviewed.whole))
    slides = len(set(tested.groups or ()))
    sizes = np.bincount(tested.labels, minlength=len(cells.classes))
    few = [f"{size} of {name}" for name, size in zip(cells.classes, sizes, strict=True) if size < count]
    if slides >= count and not few:
        return
    raise DataError(
        f"{data_dir}: to tell how often a head is right takes at least {count} slides that were reviewed whole, and"
        f" {count} cells of each class on them. There are {slides} such slides"
        + (f", with {', '.join(few)}" if few and slides else "")
        + f". Review all cells of at least {max(count - slides, 1)} more, and export again"
        + (", or move the folder of a class with too few elsewhere" if few and slides else "")
    )


def folds_of_whole(
    cells: LabelledCells, whole: npt.NDArray[np.bool_], count: int, seed: int
) -> list[tuple[Indices, Indices]]:
    """Divide the cells that may be tested into folds; the others are learned from in each.

    They are not where a cell of the same patient or slide is tested.

    Args:
        cells: The N cells.
        whole: Which may be tested, (N,).
        count: Number of folds.
        seed: Another seed gives other folds.

    Returns:
        For each fold the indices of the cells to train on, and of those to test on.

    Raises:
        DataError: A class has too few cells or groups.
    """
    tested, others = np.flatnonzero(whole), np.flatnonzero(~whole)
    made = []
    for train, test in folds(cells.of(tested), count, seed):
        chosen = others
        if cells.groups is not None:
            groups = np.array(cells.groups)
            chosen = others[~np.isin(groups[others], groups[tested[test]])]
        made.append((np.sort(np.concatenate([tested[train], chosen])), tested[test]))
    return made
