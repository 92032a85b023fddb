import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from cartcls.calibration.cross_validation import folds, labelled_cells, predictions_csv
from cartcls.runtime.bundle.provenance import Origin, Stage
from cartcls.runtime.errors import DataError, InterruptedRun
from cartcls.train import cross_validate, tables67, training
from cartcls.train.commands import app
from cartcls.train.loaders import CellData
from cartcls.train.start import Start
from cartcls.train.table5 import ARCHS
from cartcls.train.tables67 import Extent, write_tables
from cartcls.train.training import TrainingSettings

SETTINGS = TrainingSettings([Stage((32, 32), 1)], freeze="all")


@dataclass
class FakeTrainings:
    """In place of trainings: `resnet18_c` is always right, the others call all cells the same."""

    runs: list[str] = field(default_factory=list)
    settings: list[TrainingSettings] = field(default_factory=list)
    stop_at: int = 0
    answers: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 2), np.float32))

    def train(
        self, data: CellData, split: Path, run: Path, settings: TrainingSettings, others: object, resume: bool
    ) -> None:
        self.runs.append(f"{run.parent.name}/{run.name}")
        self.settings.append(settings)
        if len(self.runs) == self.stop_at:
            raise KeyboardInterrupt
        labels = data.images("report", (32, 32)).labels
        self.answers = np.eye(2, dtype=np.float32)[labels if settings.arch == "resnet18_c" else labels * 0]


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> FakeTrainings:
    fake = FakeTrainings()
    monkeypatch.setattr(training, "train", fake.train)
    monkeypatch.setattr(cross_validate, "load_checkpoint", lambda file: SimpleNamespace(model=None))
    monkeypatch.setattr(cross_validate, "predict", lambda model, images: fake.answers)
    monkeypatch.setattr(
        cross_validate, "read_start", lambda file, arch: Start(arch, [], {}, Origin(checkpoint=str(file)))
    )
    monkeypatch.setattr(tables67, "read_run", lambda run: SimpleNamespace(stages=[Stage((48, 48), 3)]))
    return fake


@pytest.fixture
def cells(tmp_path: Path, data_dir: Path) -> Path:
    """Four cells of each of two classes."""
    for name in ("ig", "monocyte"):
        shutil.copytree(data_dir / name, tmp_path / "cells" / name)
    return tmp_path / "cells"


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A folder of `table5`."""
    for arch in ARCHS:
        (tmp_path / "table5" / f"{arch}-0").mkdir(parents=True)
        (tmp_path / "table5" / f"{arch}-0" / "metrics.json").write_text("{}")
    return tmp_path / "table5"


def adapted(folder: Path, data_dir: Path, count: int) -> Path:
    """What `cartcls adapt` writes with this number of folds: all answers right with the folds of seed 0."""
    found = labelled_cells(data_dir)
    fold_of, right = np.zeros((2, len(found.paths)), int), np.eye(2)[found.labels]
    for number, (_, test) in enumerate(folds(found, count, 0)):
        fold_of[0, test] = number
    folder.mkdir()
    (folder / "cross-validation.csv").write_bytes(predictions_csv(found, fold_of, np.stack([right, 1 - right])))
    return folder


def test_both_tables_go_on_where_they_stopped(tmp_path: Path, cells: Path, pretrained: Path, trainings: FakeTrainings):
    out = tmp_path / "out"
    arguments = ["tables67", str(cells), "--out", str(out), "--folds", "2", "--sizes", "32:1"]
    arguments += ["--pretrained", str(pretrained), "--adapted", str(adapted(tmp_path / "model", cells, 2))]
    trainings.stop_at = 4
    stopped = CliRunner().invoke(app, arguments)
    assert isinstance(stopped.exception, InterruptedRun)
    assert "| resnet18 | – | 50.00% |" in (out / "tables67.md").read_text()
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.stdout == (out / "tables67.md").read_text()

    runs = [
        f"{kind}-{arch}/seed-0-fold-{fold}" for kind in ("scratch", "transfer") for arch in ARCHS for fold in (1, 2)
    ]
    runs = [run for run in runs if not run.endswith("vgg19/seed-0-fold-2")]
    assert trainings.runs == [*runs[:4], *runs[3:]]
    scratch, transfer = trainings.settings[0], trainings.settings[-1]
    assert (scratch.start, scratch.freeze) == (None, "none")
    assert (transfer.start, transfer.freeze) == (pretrained / "alexnet-0" / "best.ckpt", "all")

    six, seven = done.stdout.split("Table 7, after transfer (trained before: 3 at 48x48; the head alone is trained)")
    assert "8 cells of ig, monocyte" in six
    assert "| resnet18_c | 82.63 % | 100.00% | 67.56% to 100.00% | 8 of 8 | 2 | 1 |" in six
    assert "| vgg19 | – | 50.00% | 15.00% to 85.00% | 2 of 4 | 1 | 1 |" in six
    assert "| rcmnet | 83.36 % | 50.00% |" in seven
    assert "| `cartcls adapt` | – | 100.00% |" in seven
    assert "| After transfer, rcmnet is first (83.36 %) | differs |" in seven

    trainings.runs, trainings.stop_at = [], 0
    CliRunner().invoke(app, [*arguments, "--seeds", "2"], catch_exceptions=False)
    assert trainings.runs == [run.replace("seed-0", "seed-1") for run in runs]
    with pytest.raises(DataError, match=r"scratch-resnet18 was started with other settings .*\(folds\)"):
        write_tables(cells, out, SETTINGS, Extent(3))


def test_table_7_needs_all_models_before_anything_is_trained(
    tmp_path: Path, cells: Path, pretrained: Path, trainings: FakeTrainings
):
    (pretrained / "vgg19-0" / "metrics.json").unlink()
    with pytest.raises(
        DataError, match="vgg19-0 has no finished training: train all models with `cartcls train table5"
    ):
        write_tables(cells, tmp_path / "out", SETTINGS, Extent(2), pretrained)
    assert not trainings.runs


def test_answers_of_adapt_must_be_of_the_same_folds(tmp_path: Path, cells: Path, pretrained: Path):
    bundle = adapted(tmp_path / "model", cells, 2)
    with pytest.raises(DataError, match="is of other cells or folds"):
        write_tables(cells, tmp_path / "out", SETTINGS, Extent(4), pretrained, bundle)
    (bundle / "cross-validation.csv").unlink()
    with pytest.raises(DataError, match="name a bundle that `cartcls adapt` wrote"):
        write_tables(cells, tmp_path / "out", SETTINGS, Extent(2), pretrained, bundle)


def test_the_row_of_adapt_without_table_7_is_wrong_usage(tmp_path: Path, cells: Path):
    done = CliRunner().invoke(app, ["tables67", str(cells), "--out", str(tmp_path / "out"), "--adapted", "model"])
    assert done.exit_code == 2
    assert "give --pretrained" in done.stderr
