import csv
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from cartcls.calibration.boxes import Box, write_boxes
from cartcls.calibration.cross_validation import BY_GROUP, CrossValidated
from cartcls.calibration.split import list_images
from cartcls.runtime.bundle.provenance import Stage
from cartcls.runtime.errors import DataError, InterruptedRun
from cartcls.runtime.reports.export_reviewed import EXPORT, ExportedSlide, ExportSummary
from cartcls.train import training
from cartcls.train.checkpoint import load_checkpoint
from cartcls.train.commands import app
from cartcls.train.cross_validate import cross_validate
from cartcls.train.training import TrainingSettings, read_run

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own

SETTINGS = TrainingSettings([Stage((32, 32), 1)], "resnet18")


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """Four cells of each of two classes, and a copy of one."""
    folder = tmp_path_factory.mktemp("two") / "cells"
    for name in ("ig", "monocyte"):
        shutil.copytree(data_dir / name, folder / name)
    shutil.copy(min((folder / "ig").iterdir()), folder / "ig" / "zz.jpg")
    return folder


@pytest.fixture(scope="module")
def groups(two_classes: Path) -> Path:
    """Four slides; the copy's is another than its original's, so that the two become one."""
    file = two_classes.with_name("groups.csv")
    paths = sorted(path.relative_to(two_classes).as_posix() for path in two_classes.rglob("*.jpg"))
    file.write_text("path,slide\n" + "".join(f"{path},{number % 4}\n" for number, path in enumerate(paths)))
    return file


def test_it_goes_on_where_it_stopped_and_ends_with_figures_and_a_model(
    tmp_path: Path, two_classes: Path, groups: Path, monkeypatch: pytest.MonkeyPatch
):
    runs: list[tuple[str, bool]] = []
    train = training.train

    def stop_after_the_second(*arguments, **options):  # type: ignore[no-untyped-def]
        runs.append((arguments[2].name, options["resume"]))
        train(*arguments, **options)
        if len(runs) == 2:  # as if killed before its cells are predicted
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stop_after_the_second)
    out = tmp_path / "out"
    arguments = ["cross-validate", str(two_classes), "--out", str(out), "--groups", str(groups), "--folds", "2"]
    arguments += ["--seeds", "2", "--arch", "resnet18", "--sizes", "32:1"]
    stopped = CliRunner().invoke(app, arguments)
    assert isinstance(stopped.exception, InterruptedRun)
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    folds = [f"seed-{seed}-fold-{fold}" for seed in (0, 1) for fold in (1, 2)]
    assert runs == [
        (folds[0], False), (folds[1], False), (folds[1], True), (folds[2], False), (folds[3], False), ("final", False),
    ]  # fmt: skip

    figures = msgspec.json.decode((out / "cross-validated.json").read_bytes(), type=CrossValidated)
    assert (figures.unit, figures.folds, figures.metrics.count, len(figures.seeds)) == (BY_GROUP, 2, 8, 2)
    assert f"of 8 right ({BY_GROUP})" in done.stderr
    assert "AUC" in done.stderr
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    right = [sum(row["class"] == row["predicted"] for row in rows if row["seed"] == seed) / 8 for seed in "01"]
    assert right == [seed.top1 for seed in figures.seeds]
    assert not list(out.glob("seed-*/*.ckpt"))

    final = read_run(out / "final")
    assert final.data_sha256.keys() == {"fit"}
    assert final.split_unit == "split by group"
    assert load_checkpoint(out / "final" / "last.ckpt").epochs == 1
    assert (out / "final" / "cross-validated.json").read_bytes() == (out / "cross-validated.json").read_bytes()
    with pytest.raises(DataError, match=r"other settings or data \(freeze, folds\)"):
        cross_validate(two_classes, out, replace(SETTINGS, freeze="all"), 3, 2, groups)
    assert cross_validate(two_classes, out, SETTINGS, 2, 2, groups) == figures
    assert len(runs) == 6


def test_another_folder_is_left_alone(tmp_path: Path, two_classes: Path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(DataError, match="is not empty, and no cross-validation"):
        cross_validate(two_classes, tmp_path, SETTINGS, 2, 1)


def test_too_few_cells_are_refused_before_a_folder_is_made(tmp_path: Path, two_classes: Path):
    with pytest.raises(DataError, match=r"5 folds need .* fewer of ig \(4\), monocyte \(4\)"):
        cross_validate(two_classes, tmp_path / "out", SETTINGS, 5, 1)
    assert not (tmp_path / "out").exists()


def test_an_export_with_flagged_slides_is_refused(tmp_path: Path, two_classes: Path):
    own = shutil.copytree(two_classes, tmp_path / "own")
    slide = ExportedSlide("one", "", "", "flagged", 9, 8, 8, "0001")
    (own / EXPORT).write_bytes(msgspec.json.encode(ExportSummary("flagged", 8, "", "", [slide])))
    with pytest.raises(DataError, match="only flagged cells were reviewed"):
        cross_validate(own, tmp_path / "out", SETTINGS, 2, 1)
    assert not (tmp_path / "out").exists()


def test_a_network_with_a_box_is_cross_validated_too(tmp_path: Path, two_classes: Path):
    paths = list_images(two_classes)
    boxes, out = tmp_path / "boxes.csv", tmp_path / "out"
    write_boxes(boxes, dict.fromkeys(paths[1:], Box(100, 100, 150, 150)))
    settings = TrainingSettings([Stage((32, 32), 1)], "marzahl", boxes=boxes)
    with pytest.raises(DataError, match=rf"no box for 1 image\(s\) \({paths[0]}\)"):
        cross_validate(two_classes, out, settings, 2, 1)
    write_boxes(boxes, dict.fromkeys(paths, Box(100, 100, 150, 150)))
    found = cross_validate(two_classes, out, settings, 2, 1)
    assert found.metrics.count == 8
    assert load_checkpoint(out / "final" / "last.ckpt").arch == "marzahl"
    write_boxes(boxes, dict.fromkeys(paths, Box(100, 100, 151, 150)))
    with pytest.raises(DataError, match=r"started with other settings or data \(boxes_sha256\)"):
        cross_validate(two_classes, out, settings, 2, 1)
