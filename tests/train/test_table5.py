import csv
from dataclasses import replace
from pathlib import Path

import pytest

from cartcls.runtime.bundle.provenance import Stage
from cartcls.runtime.errors import DataError
from cartcls.train import table5, training
from cartcls.train.models.build import build
from cartcls.train.table5 import Row, train_table
from cartcls.train.training import TrainingSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own


def test_rows_are_trained_once_and_go_on_where_they_stopped(
    tmp_path: Path, data_dir: Path, split_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(table5, "ARCHS", ("resnet18", "rcmnet"))
    calls: list[tuple[str, bool]] = []
    fit = training.fit

    def stop_before_the_end(data_dir: Path, split_file: Path, out: Path, settings: TrainingSettings, resume: bool):
        calls.append((out.name, resume))
        if len(calls) == 2:  # as if killed before the first checkpoint
            out.mkdir()
            (out / "run.json").write_text("{")
            raise KeyboardInterrupt
        return fit(data_dir, split_file, out, settings, resume)

    monkeypatch.setattr(training, "fit", stop_before_the_end)
    settings, out = TrainingSettings([Stage((32, 32), 1)], batch_size=4), tmp_path / "runs"
    with pytest.raises(KeyboardInterrupt):
        train_table(data_dir, split_file, out, settings, [3])
    rows = train_table(data_dir, split_file, out, settings, [3])
    assert calls == [("resnet18-3", False), ("rcmnet-3", False), ("rcmnet-3", False)]
    assert [row.arch for row in rows] == ["resnet18", "rcmnet"]
    assert rows == train_table(data_dir, split_file, out, settings, [3])
    assert len(calls) == 3
    with (out / "table5.csv").open(newline="") as file:
        written = {row["arch"]: row for row in csv.DictReader(file)}
    assert written["rcmnet"]["correct"] == str(rows[1].correct[0])
    text = (out / "table5.md").read_text()
    assert "8 cells of `select` (split by image)" in text
    assert "| rcmnet | 99.63 % |" in text
    with pytest.raises(DataError, match="with other settings"):
        train_table(data_dir, split_file, out, replace(settings, stages=[Stage((32, 32), 2)]), [3])


def test_the_interval_is_of_the_mean_over_seeds():
    row = Row("rcmnet", "", [390, 388], 392, "split by image", 1, 1)
    assert row.top1 == pytest.approx(389 / 392)
    low, high = row.interval
    assert low < row.top1 < high


def test_multiply_adds_of_resnet18_are_the_published_ones():
    model = build("resnet18", 1000, (224, 224)).eval()
    assert table5.multiply_adds(model, (224, 224)) == pytest.approx(1.81e9, rel=0.01)
