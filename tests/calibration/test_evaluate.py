import csv
import json
import shutil
from pathlib import Path

import pytest

from cartcls.calibration.evaluate import evaluate
from cartcls.calibration.split import choose_part, list_images
from cartcls.cli import show
from cartcls.runtime import Classifier
from cartcls.runtime.errors import DataError, OutputError


def nothing(done: int, total: int) -> None:
    pass


def test_figures_and_mistakes_are_of_the_cells(data_dir: Path, tmp_path: Path, classifier: Classifier):
    swapped = Path(shutil.copytree(data_dir, tmp_path / "cells"))
    (platelet,) = sorted((swapped / "platelet").iterdir())[:1]
    platelet.rename(swapped / "eosinophil" / "not-one.jpg")
    (swapped / "ig" / "broken.jpg").write_bytes(b"junk")
    out = tmp_path / "out"
    found = evaluate(swapped, list_images(swapped), "all of cells", out, classifier, nothing)
    assert (found.metrics.count, found.part, list(found.unreadable)) == (32, "all of cells", ["ig/broken.jpg"])
    assert found.metrics.confusion[1][7] == 1
    assert found.metrics.correct >= 30
    written = json.loads((out / "metrics.json").read_text())
    assert written == json.loads(json.dumps(found.as_json()))
    assert written["bundle_sha256"] == classifier.bundle.sha256
    page = (out / "mistakes.html").read_text(encoding="utf-8")
    assert "<b>eosinophil</b> classified as <b>platelet</b>" in page
    assert "ig/broken.jpg" in page
    with (out / "cells.csv").open(newline="", encoding="utf-8-sig") as file:
        assert len(list(csv.DictReader(file))) == 33
    assert (out / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_one_class_or_one_image_has_its_figures(
    data_dir: Path, tmp_path: Path, classifier: Classifier, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "one" / "basophil").mkdir(parents=True)
    (tmp_path / "one" / "empty").mkdir()
    shutil.copy(min((data_dir / "basophil").iterdir()), tmp_path / "one" / "basophil")
    paths, part = choose_part(tmp_path / "one", None, "select")
    found = evaluate(tmp_path / "one", paths, part, tmp_path / "out", classifier, nothing)
    show.evaluated(tmp_path / "out" / "mistakes.html", found)
    said = capsys.readouterr().out
    assert "1 of 1 right (all of one): 100.00%, 95 % interval 20.65% to 100.00%\n" in said
    assert "all cells are of one class" in said
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line}
    assert (rows["basophil"], rows["platelet"]) == (["1", "100.0%"], ["0"])
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["per_class"]["platelet"]["sensitivity"] is written["macro_f1"] is None
    page = (tmp_path / "out" / "mistakes.html").read_text()
    assert ">0.0 %" not in page and "0.0000" not in page
    (tmp_path / "one" / "basophil").rename(tmp_path / "basophil")
    with pytest.raises(DataError, match="has no images in class folders"):
        choose_part(tmp_path / "one", None, "select")


def test_a_part_of_a_split_is_taken_and_named(data_dir: Path, split_file: Path):
    paths, part = choose_part(data_dir, split_file, "report")
    assert (len(paths), part) == (8, "report, split by image")
    with pytest.raises(DataError, match="no images in the part 'calibrate'"):
        choose_part(data_dir, split_file, "calibrate")
    paths, part = choose_part(data_dir, None, "select")
    assert (len(paths), part) == (32, "all of cells")


def test_classes_that_the_bundle_does_not_know_are_named(tmp_path: Path, classifier: Classifier):
    with pytest.raises(DataError, match=r"has no class CAR-T, blast: its classes are basophil"):
        evaluate(tmp_path, ["blast/1.jpg", "CAR-T/1.jpg", "ig/1.jpg"], "x", tmp_path / "out", classifier, nothing)


def test_a_folder_that_is_no_evaluation_is_left_alone(tmp_path: Path, classifier: Classifier):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="is no evaluation"):
        evaluate(tmp_path, ["ig/1.jpg"], "x", tmp_path, classifier, nothing)
    assert (tmp_path / "thesis.txt").exists()


def test_a_folder_may_have_the_title_of_its_class_and_copies_count_once(
    data_dir: Path, tmp_path: Path, classifier: Classifier
):
    titled = Path(shutil.copytree(data_dir, tmp_path / "cells"))
    (titled / "ig").rename(titled / "immature granulocyte")
    for name in ("basophil", "eosinophil", "erythroblast", "lymphocyte", "monocyte", "neutrophil"):
        shutil.rmtree(titled / name)
    shutil.copy(sorted((titled / "platelet").iterdir())[0], titled / "platelet" / "again.jpg")
    said: list[str] = []
    paths, part = choose_part(titled, None, "select", said.append)
    found = evaluate(titled, paths, part, tmp_path / "out", classifier, nothing)
    assert said == ["left out: 1 copy of other images, byte for byte"]
    assert (found.metrics.count, found.metrics.per_class["ig"].count) == (8, 4)
