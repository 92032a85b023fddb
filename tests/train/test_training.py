import csv
import json
import logging.handlers
import re
import signal
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_utilities.core import rank_zero
from typer.testing import CliRunner

from cartcls.runtime.bundle.provenance import Stage
from cartcls.runtime.errors import DataError, InterruptedRun
from cartcls.train.checkpoint import load_checkpoint
from cartcls.train.commands import app
from cartcls.train.training import TrainingSettings, fit, read_run

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own

SETTINGS = TrainingSettings([Stage((32, 32), 1), Stage((48, 50), 1)], "resnet18_m", batch_size=4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, split_file: Path) -> Path:
    """Run folder of a short training on real cells."""
    out = tmp_path_factory.mktemp("run") / "run"
    fit(data_dir, split_file, out, SETTINGS)
    return out


def test_a_run_folder_holds_all_that_is_promised(finished: Path):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "best.ckpt", "last.ckpt", "history.csv", "metrics.json", "confusion.png", "curves.png", "run.json", "split.csv",
    }  # fmt: skip
    with (finished / "history.csv").open(newline="") as file:
        assert [(row["epoch"], row["size"]) for row in csv.DictReader(file)] == [("1", "32x32"), ("2", "48x50")]
    metrics = json.loads((finished / "metrics.json").read_text())
    assert (metrics["part"], metrics["unit"], metrics["count"], metrics["top5"] >= metrics["top1"]) == (
        "select", "split by image", 8, True,
    )  # fmt: skip
    run = json.loads((finished / "run.json").read_text())
    assert {"command", "versions", "split_sha256", "data_sha256", "seed", "preprocessing"} <= run.keys()
    assert load_checkpoint(finished / "best.ckpt").provenance == read_run(finished)


def test_the_best_checkpoint_is_of_the_size_that_ships(finished: Path):
    checkpoint = torch.load(finished / "best.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 1
    assert checkpoint["averaging_state"] == {"n_averaged": 4}  # the steps of the last stage alone
    assert load_checkpoint(finished / "best.ckpt").image_size == (48, 50)


def test_an_interrupted_run_goes_on_where_it_stopped(
    finished: Path, tmp_path: Path, data_dir: Path, split_file: Path, monkeypatch: pytest.MonkeyPatch
):
    from cartcls.train import training

    class StopAfterFirstEpoch(training.History):
        def on_train_epoch_start(self, trainer, pl_module):  # type: ignore[no-untyped-def]
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt
            super().on_train_epoch_start(trainer, pl_module)

    out, handler, logged = tmp_path / "run", signal.getsignal(signal.SIGINT), logging.handlers.BufferingHandler(1000)
    out.mkdir()
    (out / "run.json").write_text("{}")  # of a run that was stopped while it read the images
    rank_zero.log.addHandler(logged)
    with monkeypatch.context() as patch:
        patch.setattr(training, "History", StopAfterFirstEpoch)
        arguments = ["--split", str(split_file), "--out", str(out), "--arch", "resnet18_m", "--batch-size", "4"]
        done = CliRunner().invoke(app, ["fit", str(data_dir), *arguments, "--sizes", "32x32:1,48x50:1"])
    signal.signal(signal.SIGINT, handler)  # Lightning turns it off
    said = done.stderr.splitlines()
    assert said[0] == "resnet18_m, epochs 1 at 32x32, 1 at 48x50: loading PyTorch"
    assert "reading 16 images of fit at 32x32" in said
    assert any(line.startswith("training resnet18_m on ") for line in said)
    assert isinstance(done.exception, InterruptedRun)  # one line and 130, by `console.run`
    assert re.fullmatch("go on after the last whole epoch with: cartcls train .* --resume", str(done.exception))
    assert [record.getMessage() for record in logged.buffer] == []  # nothing of the framework's own
    assert torch.load(out / "last.ckpt", weights_only=True)["epoch"] == 0
    stopped = load_checkpoint(out / "best.ckpt")  # before the last stage: it is for the size that it has seen
    assert (stopped.image_size, stopped.epochs) == ((32, 32), 1)
    assert stopped.model.state_dict()["bot.attention.rel_height"].shape[0] == 1

    with pytest.raises(DataError, match="started with other settings"):
        fit(data_dir, split_file, out, replace(SETTINGS, seed=1), resume=True)
    with pytest.raises(DataError, match="is not empty"):
        fit(data_dir, split_file, out, SETTINGS)
    fit(data_dir, split_file, out, SETTINGS, resume=True)
    rank_zero.log.removeHandler(logged)
    assert [record.getMessage() for record in logged.buffer] == []
    with (out / "history.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    resumed, whole = (torch.load(run / "last.ckpt", weights_only=True) for run in (out, finished))
    assert resumed["global_step"] == whole["global_step"]
    assert resumed["averaging_state"] == whole["averaging_state"]


def test_the_bar_counts_epochs_from_1_to_the_last(
    tmp_path: Path,
    data_dir: Path,
    split_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    from cartcls.train import callbacks, training

    for module in (callbacks, training):
        monkeypatch.setattr(module, "has_bar", lambda: True)
    fit(data_dir, split_file, tmp_path / "run", TrainingSettings([Stage((32, 32), 2)], "resnet18", batch_size=16))
    assert "epoch 2 of 2" in capsys.readouterr().err


def test_there_is_nothing_to_start_from_is_said_before_an_image_is_read(
    tmp_path: Path, data_dir: Path, split_file: Path, capsys: pytest.CaptureFixture[str]
):
    settings = replace(SETTINGS, start=Path("runtime/bundles/no-such"))
    with pytest.raises(DataError, match=r"no-such does not exist: name a bundle folder \(the shipped one is .*rcmnet"):
        fit(data_dir, split_file, tmp_path / "run", settings)
    assert not capsys.readouterr().err


def test_frozen_stages_keep_weights_and_batch_statistics(
    finished: Path, tmp_path: Path, data_dir: Path, split_file: Path
):
    before = torch.load(finished / "best.ckpt", weights_only=True)["state_dict"]
    settings = TrainingSettings(
        [Stage((48, 50), 1)], "resnet18_m", batch_size=4, start=finished / "best.ckpt", freeze="layer2"
    )
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        fit(data_dir, split_file, tmp_path / "run", settings)
    assert not [line for line in warned if "eval mode" in str(line.message)]  # that of the frozen layers is meant
    after = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
    for name in ("conv1.weight", "bn1.running_mean", "layer2.1.bn2.weight", "layer2.1.bn2.running_var"):
        assert torch.allclose(before[f"model.{name}"], after[f"model.{name}"])  # averaging rounds
    for name in ("layer3.0.conv1.weight", "layer3.0.bn1.running_mean", "fc.weight"):
        assert not torch.allclose(before[f"model.{name}"], after[f"model.{name}"])
    assert read_run(tmp_path / "run").freeze == "layer2"
    with pytest.raises(DataError, match=r"other settings \(freeze\)"):
        fit(data_dir, split_file, tmp_path / "run", replace(settings, freeze="all"), resume=True)


def test_there_is_nothing_to_resume_in_a_new_folder(tmp_path: Path, data_dir: Path, split_file: Path):
    with pytest.raises(DataError, match="nothing to resume"):
        fit(data_dir, split_file, tmp_path / "new", SETTINGS, resume=True)


def test_a_class_without_select_images_is_refused_before_training(tmp_path: Path, data_dir: Path, split_file: Path):
    text = split_file.read_text().splitlines()
    file = tmp_path / "split.csv"
    file.write_text("\n".join(line.replace("select", "fit") if line.startswith("ig/") else line for line in text))
    with pytest.raises(DataError, match="the part select no image of ig"):
        fit(data_dir, file, tmp_path / "run", SETTINGS)


def test_a_training_of_any_number_of_steps_has_a_rate(tmp_path: Path, data_dir: Path, split_file: Path):
    fit(data_dir, split_file, tmp_path / "run", TrainingSettings([Stage((32, 32), 9)], "resnet18", batch_size=16))
    rates = [float(row["rate"]) for row in csv.DictReader((tmp_path / "run" / "history.csv").open())]
    assert len(rates) == 9
    assert rates[0] == max(rates)
    assert rates[1:] == sorted(rates[1:], reverse=True)
