import shutil
from pathlib import Path

import pytest

from cartcls.calibration.own_cells import FOLDS, find_own_cells
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import DataError


def labelled(directory: Path, slide: Path, **counts: int) -> Path:
    """A folder with so many different cells of each class."""
    cells = iter(sorted(slide.glob("*.jpg")))
    for name, count in counts.items():
        (directory / name).mkdir(parents=True)
        for _ in range(count):
            shutil.copy(next(cells), directory / name)
    return directory


def silent(line: str) -> None:
    pass


def test_folders_named_as_a_class_or_by_its_title_are_that_class(bundle: Bundle, slide: Path, tmp_path: Path):
    names = {"Immature Granulocyte": FOLDS, "große Zelle": FOLDS}
    cells, reviewed = find_own_cells(labelled(tmp_path / "own", slide, **names), None, bundle, silent)
    assert reviewed is None
    assert cells.classes == ["ig", "große Zelle"]
    assert len(cells.paths) == len(cells.labels) == 2 * FOLDS


def test_what_cannot_be_cross_validated_is_refused(bundle: Bundle, slide: Path, tmp_path: Path):
    one = labelled(tmp_path / "one", slide, ours=6)
    with pytest.raises(DataError, match="at least two classes are needed"):
        find_own_cells(one, None, bundle, silent)
    few = labelled(tmp_path / "few", slide, ours=6, theirs=3)
    with pytest.raises(DataError, match=r"few: 5 folds need at least 5 different images of each class.*theirs \(3\)"):
        find_own_cells(few, None, bundle, silent)
    twice = labelled(tmp_path / "twice", slide, IG=5, **{"immature granulocyte": 5})
    with pytest.raises(DataError, match="IG and immature granulocyte are the same class"):
        find_own_cells(twice, None, bundle, silent)
    cases = labelled(tmp_path / "cases", slide, Ours=5, ours=5)
    with pytest.raises(DataError, match="Ours and ours are the same class"):
        find_own_cells(cases, None, bundle, silent)
    torn = labelled(tmp_path / "torn", slide, ours=6, theirs=6)
    shutil.copy(next((torn / "ours").iterdir()), torn / "theirs" / "copy.jpg")
    with pytest.raises(DataError, match="have the same bytes, in two classes"):
        find_own_cells(torn, None, bundle, silent)
    groups = tmp_path / "groups.csv"
    own = labelled(tmp_path / "own", slide, ours=6, theirs=6)
    paths = sorted(path.relative_to(own).as_posix() for path in own.glob("*/*.jpg"))
    groups.write_text("path,slide\n" + "".join(f"{path},{path[:4]}\n" for path in paths))
    with pytest.raises(DataError, match="5 folds need at least 5 groups, and there are 2"):
        find_own_cells(own, groups, bundle, silent)
