import csv
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from cartcls.calibration.boxes import Box, write_boxes
from cartcls.calibration.split import list_images, read_split
from cartcls.runtime.bundle.provenance import Stage
from cartcls.runtime.errors import DataError, InterruptedRun
from cartcls.train import training
from cartcls.train.box_classifier import HEADS_RATE, RATES, cycle, mean_overlap, rate
from cartcls.train.checkpoint import load_checkpoint
from cartcls.train.commands import app
from cartcls.train.loaders import CellData
from cartcls.train.training import TrainingSettings, fit, read_run

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own
SIZES = [Stage((32, 32), 1), Stage((48, 50), 1)]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """Boxes of all cells, each wider than the one before."""
    file = tmp_path_factory.mktemp("boxes") / "boxes.csv"
    write_boxes(file, {path: Box(90, 121, 90 + 4 * place, 121) for place, path in enumerate(list_images(data_dir))})
    return file


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, split_file: Path) -> Path:
    """A checkpoint to start from."""
    out = tmp_path_factory.mktemp("start") / "run"
    fit(data_dir, split_file, out, TrainingSettings([Stage((32, 32), 1)], "resnet18", batch_size=8))
    return out / "best.ckpt"


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    return {name.removeprefix("model."): value for name, value in state.items()}


def test_the_heads_are_trained_first_and_then_all_also_after_an_interruption(
    tmp_path: Path, data_dir: Path, split_file: Path, boxes: Path, resnet18: Path, monkeypatch: pytest.MonkeyPatch
):
    class StopAfterFirstEpoch(training.History):
        def on_train_epoch_start(self, trainer, pl_module):  # type: ignore[no-untyped-def]
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt
            super().on_train_epoch_start(trainer, pl_module)

    out, handler = tmp_path / "run", signal.getsignal(signal.SIGINT)
    options = ["--arch", "marzahl", "--boxes", boxes, "--start", resnet18, "--batch-size", "8"]
    options += ["--split", split_file, "--out", out, "--sizes", "32x32:1,48x50:1"]
    command = ["fit", str(data_dir), *map(str, options)]
    with monkeypatch.context() as patch:
        patch.setattr(training, "History", StopAfterFirstEpoch)
        done = CliRunner().invoke(app, command)
    signal.signal(signal.SIGINT, handler)  # Lightning turns it off
    assert isinstance(done.exception, InterruptedRun), done.output
    before, stopped = weights(resnet18), weights(out / "last.ckpt")
    body = [name for name in before if not name.startswith("fc.") and not name.endswith("num_batches_tracked")]
    moved = [name for name in body if not torch.allclose(before[name], stopped[f"body.{name}"])]
    assert moved == []  # batch statistics, too
    assert stopped["box.1.bias"].any()

    other = tmp_path / "other.csv"
    other.write_text(boxes.read_text() + "another,0,0,1,1\n")
    settings = TrainingSettings(SIZES, "marzahl", batch_size=8, start=resnet18, boxes=other)
    with pytest.raises(DataError, match=r"started with other settings \(boxes_sha256\)"):
        fit(data_dir, split_file, out, settings, resume=True)
    done = CliRunner().invoke(app, [*command, "--resume"])
    assert done.exit_code == 0, done.output
    assert "weighted F1 0." in done.stderr
    after = weights(out / "last.ckpt")
    changed = [name for name in body if not torch.allclose(before[name], after[f"body.{name}"])]
    assert {"conv1.weight", "layer4.1.conv2.weight", "bn1.running_mean"} <= set(changed)
    rows = list(csv.DictReader((out / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    metrics = json.loads((out / "metrics.json").read_text())
    assert 0 < metrics["iou"] < 1
    assert 0 <= metrics["weighted_f1"] <= 1
    assert float(rows[-1]["select_iou"]) == pytest.approx(
        metrics["iou"], abs=0.02
    )  # of the last, or only, epoch at 48x50
    assert read_run(out).boxes_sha256


def test_without_a_start_all_is_trained_at_once(tmp_path: Path, data_dir: Path, split_file: Path, boxes: Path):
    out = tmp_path / "run"
    metrics = fit(data_dir, split_file, out, TrainingSettings(SIZES[:1], "marzahl", batch_size=8, boxes=boxes))
    assert metrics
    assert metrics.iou is not None
    trained = load_checkpoint(out / "best.ckpt")
    data = CellData(data_dir, read_split(split_file), SIZES[:1], 8, 0, boxes)
    select = data.images("select", (32, 32))
    true = data.true_boxes(select)
    assert true is not None
    assert mean_overlap(trained.model, select.images, true) == pytest.approx(metrics.iou)


def test_boxes_travel_with_their_cells(data_dir: Path, split_file: Path, boxes: Path):
    data = CellData(data_dir, read_split(split_file), SIZES, 8, 0, boxes)
    loaded = data.images("select", (32, 32))
    true = data.true_boxes(loaded)
    assert true is not None
    place = list_images(data_dir).index(loaded.paths[3])
    width = (90 + 4 * place) / 360
    assert torch.allclose(true[3], 2 * torch.tensor([0.25 + width / 2, 0.5, width, 1 / 3]) - 1, atol=1e-6)
    batches = list(data.val_dataloader())
    assert torch.equal(torch.cat([batch[2] for batch in batches]), true)
    images, _, drawn = next(iter(data.train_dataloader()))
    fitted = data.true_boxes(data.images("fit", (32, 32)))
    assert fitted is not None
    assert images.shape == (8, 32, 32, 3)
    assert all(any(torch.equal(box, one) for one in fitted) for box in drawn)


def test_boxes_that_do_not_fit_the_cells_are_refused(tmp_path: Path, data_dir: Path, split_file: Path, boxes: Path):
    settings = TrainingSettings(SIZES, "marzahl", boxes=tmp_path / "boxes.csv")
    lines = boxes.read_text().splitlines()
    (tmp_path / "boxes.csv").write_text("\n".join(lines[:5]))
    with pytest.raises(DataError, match=r"no box for 2[0-9] image"):
        fit(data_dir, split_file, tmp_path / "run", settings)
    (tmp_path / "boxes.csv").write_text(
        "\n".join(line[:-3] + "300" if line.startswith("ig/") else line for line in lines)
    )
    with pytest.raises(DataError, match=r"2 box\(es\) reach outside the picture \(ig/.*, 360x363"):
        fit(data_dir, split_file, tmp_path / "run", settings)
    with pytest.raises(DataError, match="marzahl is trained on boxes"):
        fit(data_dir, split_file, tmp_path / "other", replace(settings, boxes=None))


def test_weights_of_another_network_are_refused(tmp_path: Path, data_dir: Path, split_file: Path, boxes: Path):
    start = tmp_path / "start"
    fit(data_dir, split_file, start, TrainingSettings(SIZES[:1], "resnet18_m", batch_size=8))
    settings = TrainingSettings(SIZES[:1], "marzahl", start=start / "best.ckpt", boxes=boxes)
    with pytest.raises(DataError, match="of resnet18_m: marzahl starts from those of resnet18"):
        fit(data_dir, split_file, tmp_path / "run", settings)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100])
def test_a_cycle_rises_to_the_peak_and_falls(steps: int):
    shares = [cycle(step, steps) for step in range(steps)]
    peak = shares.index(1.0)
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
    assert min(shares) > 0
    assert cycle(steps, steps) == 0


def test_rates_are_the_papers_in_both_phases():
    peaks = [
        [max(rate(stage, step, 100, 50) for step in phase) for stage in range(6)]
        for phase in (range(50), range(50, 100))
    ]
    assert peaks == [[HEADS_RATE, 0, 0, 0, 0, 0], list(RATES)]
