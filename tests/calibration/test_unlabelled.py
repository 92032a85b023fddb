import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeBackend

from cartcls.calibration.unlabelled import MOST, find_cells, gather_unlabelled
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import DataError
from cartcls.runtime.inference.classifier import Classifier


def test_of_many_cells_some_are_taken_from_all_over_the_folder(tmp_path: Path):
    for slide in ("a", "b", "c"):
        (tmp_path / slide).mkdir()
        for number in range(300):
            (tmp_path / slide / f"{number:03}.jpg").touch()
    files = find_cells(tmp_path)
    assert len(set(files)) == MOST
    assert (files[0].parent.name, files[-1].parent.name) == ("a", "c")
    assert {sum(file.parent.name == slide for file in files) for slide in "abc"} <= {166, 167}


def test_a_folder_without_images_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="holds no image: name a folder"):
        find_cells(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        find_cells(tmp_path / "missing")


def test_what_cannot_be_read_is_left_out(bundle: Bundle, slide: Path, tmp_path: Path):
    good, bad = Path(shutil.copy(next(slide.glob("*.jpg")), tmp_path / "good.jpg")), tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff not an image")
    said: list[str] = []
    done: list[tuple[int, int]] = []
    classifier = Classifier(bundle, FakeBackend())
    found = gather_unlabelled([bad, good], classifier, lambda *step: done.append(step), said.append)
    assert found.files == [good]
    assert found.features.shape[0] == found.probabilities.shape[0] == 1
    assert np.isclose(found.probabilities.sum(), 1)
    assert done == [(1, 2), (2, 2)]
    assert said[0].startswith(f"{bad} is left out: ")
    with pytest.raises(DataError, match="none of the images can be read"):
        gather_unlabelled([bad], classifier, lambda *step: None, said.append)
