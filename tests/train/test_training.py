import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

from cartcls.runtime.errors import DataError
from cartcls.train.checkpoint import load_checkpoint
from cartcls.train.loaders import Stage
from cartcls.train.training import Classifier, fit, select_score

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own

STAGES = [Stage((32, 32), 1), Stage((48, 50), 1)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, split_file: Path) -> Path:
    """Run folder of a short training on real cells."""
    out = tmp_path_factory.mktemp("run") / "run"
    fit(data_dir, split_file, "resnet18_m", out, STAGES, batch_size=4, seed=0)
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


def test_the_best_checkpoint_is_of_the_size_that_ships(finished: Path):
    checkpoint = torch.load(finished / "best.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 1
    assert checkpoint["averaging_state"] == {"n_averaged": 4}  # the steps of the last stage alone
    assert load_checkpoint(finished / "best.ckpt").image_size == (48, 50)


@pytest.mark.parametrize(
    ("worse", "better"),
    [((0, 1.0, 0.01), (1, 0.1, 3.0)), ((1, 0.98, 0.01), (1, 0.99, 99.0)), ((1, 0.99, 0.073), (1, 0.99, 0.068))],
    ids=["stage", "right", "loss"],
)
def test_of_two_epochs_the_later_stage_wins_then_more_right_then_less_loss(
    worse: tuple[int, float, float], better: tuple[int, float, float]
):
    single = torch.tensor([select_score(*epoch, cells=100) for epoch in (worse, better)])  # as Lightning compares them
    assert single[0] < single[1]


def test_each_cell_of_select_counts_alike_whatever_its_batch():
    torch.manual_seed(0)
    classifier = Classifier("resnet18", ["a", "b"], (32, 32), {}).eval()
    classifier.log = lambda *args, **kwargs: None
    images, labels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    with torch.inference_mode():
        for part in (slice(0, 3), slice(3, 4)):
            classifier.validation_step((images[part], labels[part]), 0)
        expected = torch.nn.functional.cross_entropy(classifier(images), labels)
    assert classifier.select_loss.compute() == pytest.approx(float(expected), rel=1e-5)


def test_an_interrupted_run_goes_on_where_it_stopped(
    finished: Path, tmp_path: Path, data_dir: Path, split_file: Path, monkeypatch: pytest.MonkeyPatch
):
    from cartcls.train import training

    class Killed(Exception):
        pass

    class StopAfterFirstEpoch(training.History):
        def on_train_epoch_start(self, trainer, pl_module):  # type: ignore[no-untyped-def]
            if trainer.current_epoch == 1:
                raise Killed
            super().on_train_epoch_start(trainer, pl_module)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(training, "History", StopAfterFirstEpoch)
        with pytest.raises(Killed):
            fit(data_dir, split_file, "resnet18_m", out, STAGES, batch_size=4, seed=0)
    assert torch.load(out / "last.ckpt", weights_only=True)["epoch"] == 0

    with pytest.raises(DataError, match="begun with other settings"):
        fit(data_dir, split_file, "resnet18_m", out, STAGES, batch_size=4, seed=1, resume=True)
    with pytest.raises(DataError, match="is not empty"):
        fit(data_dir, split_file, "resnet18_m", out, STAGES, batch_size=4, seed=0)
    fit(data_dir, split_file, "resnet18_m", out, STAGES, batch_size=4, seed=0, resume=True)
    with (out / "history.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    resumed, whole = (torch.load(run / "last.ckpt", weights_only=True) for run in (out, finished))
    assert resumed["global_step"] == whole["global_step"]
    assert resumed["averaging_state"] == whole["averaging_state"]


def test_there_is_nothing_to_resume_in_a_new_folder(tmp_path: Path, data_dir: Path, split_file: Path):
    with pytest.raises(DataError, match="nothing to resume"):
        fit(data_dir, split_file, "resnet18", tmp_path / "new", STAGES, batch_size=4, seed=0, resume=True)


def test_a_class_without_select_images_is_refused_before_training(tmp_path: Path, data_dir: Path, split_file: Path):
    text = split_file.read_text().splitlines()
    file = tmp_path / "split.csv"
    file.write_text("\n".join(line.replace("select", "fit") if line.startswith("ig/") else line for line in text))
    with pytest.raises(DataError, match="the part select no image of ig"):
        fit(data_dir, file, "resnet18", tmp_path / "run", STAGES, batch_size=4, seed=0)


def test_foreign_files_are_no_checkpoints_and_are_not_executed(tmp_path: Path):
    (tmp_path / "a.ckpt").write_bytes(b"junk")
    with pytest.raises(DataError, match="is not a checkpoint"):
        load_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(DataError, match="does not exist"):
        load_checkpoint(tmp_path / "none.ckpt")

    class Canary:
        def __reduce__(self):
            return (shutil.rmtree, (str(tmp_path),))

    torch.save(Canary(), tmp_path / "canary.ckpt")
    with pytest.raises(DataError, match="is not a checkpoint"):
        load_checkpoint(tmp_path / "canary.ckpt")
    assert tmp_path.exists()


def test_a_training_of_any_number_of_steps_has_a_rate(tmp_path: Path, data_dir: Path, split_file: Path):
    fit(data_dir, split_file, "resnet18", tmp_path / "run", [Stage((32, 32), 9)], batch_size=16, seed=0)
    rates = [float(row["rate"]) for row in csv.DictReader((tmp_path / "run" / "history.csv").open())]
    assert len(rates) == 9
    assert rates[0] == max(rates)
    assert rates[1:] == sorted(rates[1:], reverse=True)
