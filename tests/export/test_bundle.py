import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import PIL.Image
import pytest
import torch

from cartcls.calibration.cross_validation import cross_validated, labelled_cells
from cartcls.calibration.evaluate import evaluate
from cartcls.calibration.split import choose_part, read_split
from cartcls.cli import show
from cartcls.export import parity
from cartcls.export.bundle import export_bundle
from cartcls.export.model_card import model_card
from cartcls.export.parity import ParityReport, check_parity
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import load_bundle
from cartcls.runtime.bundle.provenance import Stage
from cartcls.runtime.errors import BundleError, DataError, ParityError
from cartcls.runtime.inference.backend import Outputs
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.inference.openvino_backend import INT8
from cartcls.runtime.inference.parity import HALF_LIMIT, Reference, compare, read_reference
from cartcls.train.loaders import CellData
from cartcls.train.models.build import build
from cartcls.train.training import TrainingSettings, fit, train

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's and the exporter's own


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, split_file: Path) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    fit(data_dir, split_file, out, TrainingSettings([Stage((64, 70), 1)], batch_size=8))
    return out / "best.ckpt"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    directory = tmp_path_factory.mktemp("bundle") / "mine"
    notice = directory.with_name("notice.txt")
    notice.write_text("Our cells.\n")
    export_bundle(checkpoint, directory, notice=notice)
    return directory


def test_a_bundle_is_made_whole_and_classifies(exported: Path, data_dir: Path):
    bundle = load_bundle(exported)
    assert (bundle.name, bundle.width, bundle.height, bundle.calibrated) == ("mine", 64, 70, False)
    assert (exported / "NOTICE").read_text() == "Our cells.\n"
    assert str(data_dir) not in (exported / "bundle.json").read_text()
    backend = open_backend(bundle)
    assert backend.infer(np.zeros((2, 70, 64, 3), np.uint8)).logits.shape == (2, 8)
    backend.close()


def test_a_new_bundle_is_told_to_be_calibrated(exported: Path, capsys: pytest.CaptureFixture[str]):
    show.exported(exported, ParityReport([], "f32"))
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("not calibrated yet: every cell will be for review; next: cartcls calibrate ")
    assert last.endswith(f"{exported} LABELLED_DIR --split SPLIT")


def test_the_parity_is_in_the_bundle(exported: Path):
    bundle = load_bundle(exported)
    checks = bundle.manifest.parity.checks
    assert [check.graph for check in checks[:3]] == ["float32", "half", "half"]
    assert [check.limit for check in checks[:3]] == [0.001, 0.02, 0.02]
    assert all(check.count == 8 for check in checks)
    assert checks[-1].runner == f"OpenVINO, {bundle.cpu_precision}"
    assert checks[-1].passed


def test_the_bundle_carries_cells_to_check_its_parity_anywhere(exported: Path):
    bundle = load_bundle(exported)
    reference = read_reference(bundle)
    assert reference.labels.tolist() == list(range(8))
    backend = open_backend(bundle)
    assert compare("half", backend.name, backend.infer, reference, HALF_LIMIT).passed
    logits = reference.logits + np.eye(8, dtype=np.float32)[0]
    other = Reference(reference.images, reference.labels, logits, reference.bias)
    assert not compare("half", backend.name, backend.infer, other, HALF_LIMIT).passed
    backend.close()
    (exported / "proof.npz").rename(exported / "moved.npz")
    with pytest.raises(BundleError, match=r"proof\.npz .* copy the whole bundle again"):
        read_reference(bundle)
    (exported / "moved.npz").rename(exported / "proof.npz")


def test_the_model_card_says_what_it_is_not_for(exported: Path):
    card = (exported / "MODEL_CARD.md").read_text()
    assert "This model has no class for blasts, atypical lymphocytes, plasma cells or CAR-T cells" in card
    assert "is for review: basophil, erythroblast, immature granulocyte." in card
    assert "split by image" in card
    assert "| select |" in card
    assert "# the weights of epoch " in card


def test_a_bundle_tells_the_trainings_before_the_last(tmp_path: Path, data_dir: Path, split_file: Path):
    start = None
    for seed, size in ((0, (48, 50)), (5, (32, 32)), (6, (32, 32))):
        settings = TrainingSettings([Stage(size, 1)], "resnet18", batch_size=8, seed=seed, start=start)
        fit(data_dir, split_file, tmp_path / str(seed), settings)
        start = tmp_path / str(seed) / "best.ckpt"
    assert start is not None
    export_bundle(start, tmp_path / "mine", precision="fp32")  # one graph in place of two
    card = (tmp_path / "mine" / "MODEL_CARD.md").read_text()
    told = card.split("## Where it came from\n")[1].splitlines()[:5]
    stopped = "    # stopped after 1 epochs in all; its best.ckpt is the start of"
    assert [line for line in told if line.startswith("    #")] == [stopped, stopped]
    assert "--arch resnet18 --sizes 48x50:1 --batch-size 8 --seed 0" in told[0]
    assert told[2].endswith("--arch resnet18 --sizes 32x32:1 --batch-size 8 --seed 5 --start best.ckpt")
    assert told[4].endswith("--seed 6 --start best.ckpt")
    assert str(data_dir) not in (tmp_path / "mine" / "bundle.json").read_text()


def test_a_run_that_was_stopped_is_exported_for_the_size_that_it_was_trained_at(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = Path(shutil.copytree(checkpoint.parent, tmp_path / "stopped"))
    changed = torch.load(run / "best.ckpt", weights_only=True)
    changed["hyper_parameters"]["image_size"] = (128, 140)
    changed["hyper_parameters"]["provenance"]["stages"].append({"size": [128, 140], "epochs": 2})
    weights = build("rcmnet", 8, (128, 140)).state_dict()
    for name in ("bot.attention.rel_height", "bot.attention.rel_width"):
        changed["state_dict"][f"model.{name}"] = weights[name].fill_(0.5)
    torch.save(changed, run / "best.ckpt")
    parity = export_bundle(run / "best.ckpt", tmp_path / "mine", precision="fp32")
    bundle = load_bundle(tmp_path / "mine")
    assert (bundle.width, bundle.height) == (64, 70)
    card = (tmp_path / "mine" / "MODEL_CARD.md").read_text()
    assert "# the weights of epoch 1 of 3, at 64x70: the training was stopped before its last size" in card
    show.exported(tmp_path / "mine", parity)
    said = " ".join(capsys.readouterr().err.split())
    assert "stopped before its last image size: the bundle is for the size of its weights, 64x70." in said


def test_an_8_bit_graph_lies_beside_and_runs_where_its_parity_holds(checkpoint: Path, tmp_path: Path):
    report = export_bundle(checkpoint, tmp_path / "small", precision="int8")
    assert report.has_int8
    bundle = load_bundle(tmp_path / "small")
    check = bundle.manifest.parity.checks[-1]
    assert (check.graph, check.limit, check.passed, check.changed) == ("int8", 0.1, True, [])
    backend = open_backend(bundle, "openvino")
    assert backend.precision == bundle.cpu_precision == "int8 + f32 where unsure"
    backend.close()
    (tmp_path / "small" / "model.int8.onnx").write_bytes(bundle.model)
    with pytest.raises(BundleError, match=r"model\.int8\.onnx was altered"):
        load_bundle(tmp_path / "small")


def test_float32_and_report_come_on_request_and_evaluate_finds_the_same(
    exported: Path, checkpoint: Path, tmp_path: Path, data_dir: Path, split_file: Path
):
    assert load_bundle(exported).manifest.metrics.keys() == {"select"}
    found = export_bundle(checkpoint, tmp_path / "released", precision="fp32", open_report=True)
    assert {check.graph for check in found.checks} == {"float32"}
    bundle = load_bundle(tmp_path / "released")
    assert len(bundle.model) > 40_000_000
    assert "| report |" in (tmp_path / "released" / "MODEL_CARD.md").read_text()
    paths, part = choose_part(data_dir, split_file, "report")
    with Classifier(bundle) as classifier:
        evaluated = evaluate(data_dir, paths, part, tmp_path / "out", classifier, lambda done, count: None)
    assert evaluated.metrics == bundle.manifest.metrics["report"]


def test_a_graph_that_gives_other_answers_is_refused_and_nothing_is_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Wrong(parity.OpenVINOBackend):
        def infer(self, images: np.ndarray) -> Outputs:
            outputs = super().infer(images)
            return Outputs(outputs.logits[:, ::-1] * 3, outputs.features, outputs.cams)

    monkeypatch.setattr(parity, "OpenVINOBackend", Wrong)
    with pytest.raises(ParityError, match="half graph by OpenVINO"):
        export_bundle(checkpoint, tmp_path / "wrong")
    assert not list(tmp_path.iterdir())


def test_maps_that_do_not_add_up_are_refused(exported: Path):
    bundle = load_bundle(exported)
    images = np.zeros((2, 70, 64, 3), np.uint8)
    backend = open_backend(bundle)
    logits = backend.infer(images).logits
    backend.close()
    reference = Reference(images, np.zeros(2, np.int64), logits, bias=np.full(8, 9, np.float32))
    with pytest.raises(ParityError, match="heat maps differ from their logits"):
        check_parity(reference, bundle.model, bundle.model, half=True)


def test_the_model_on_all_cells_carries_the_cross_validated_figures(tmp_path: Path, data_dir: Path, split_file: Path):
    run = tmp_path / "final"
    run.mkdir()
    rows = [f"{path},fit" for path in sorted(read_split(split_file).parts)]
    (run / "split.csv").write_text("\n".join(["path,part", *rows]) + "\n")
    split, settings = read_split(run / "split.csv"), TrainingSettings([Stage((32, 32), 1)], "resnet18")
    assert train(CellData(data_dir, split, settings.stages, 32, 0), run / "split.csv", run, settings, {}) is None
    cells = labelled_cells(data_dir)
    figures = cross_validated(cells, np.eye(8)[(cells.labels + (cells.labels == 3)) % 8][None], 4)
    (run / "cross-validated.json").write_bytes(msgspec.json.encode(figures))
    export_bundle(run / "last.ckpt", tmp_path / "mine", precision="fp32")
    bundle = load_bundle(tmp_path / "mine")
    assert bundle.manifest.metrics == {"cross-validated, by image": figures.metrics}
    assert (bundle.manifest.parity.part, bundle.manifest.parity.checks[-1].count) == ("fit", 32)
    card = (tmp_path / "mine" / "MODEL_CARD.md").read_text()
    assert "| cross-validated, by image | 28 of 32 | 87.50% |" in card
    assert "This model was trained on all of them." in card
    assert "cartcls train cross-validate DATA_DIR --out RUN_DIR --arch resnet18 --sizes 32x32:1 --batch-size 32" in card
    with pytest.raises(DataError, match="on data without the part 'report'"):
        export_bundle(run / "last.ckpt", tmp_path / "other", open_report=True)
    (run / "cross-validated.json").write_text("{")
    with pytest.raises(DataError, match=r"cross-validated\.json cannot be read .* run the cross-validation again"):
        export_bundle(run / "last.ckpt", tmp_path / "other")


def test_what_does_not_fit_the_checkpoint_is_a_clear_error(
    checkpoint: Path, exported: Path, data_dir: Path, tmp_path: Path
):
    with pytest.raises(DataError, match="exists already"):
        export_bundle(checkpoint, exported)
    with pytest.raises(DataError, match="give the data folder with --data"):
        export_bundle(checkpoint, tmp_path / "b", data_dir=tmp_path / "moved")
    run = Path(shutil.copytree(checkpoint.parent, tmp_path / "run"))
    (run / "split.csv").write_text((run / "split.csv").read_text().replace("report", "calibrate"))
    with pytest.raises(DataError, match="is not the split"):
        export_bundle(run / "best.ckpt", tmp_path / "b")
    other = Path(shutil.copytree(data_dir, tmp_path / "data"))
    paths = sorted((other / "ig").iterdir())
    with PIL.Image.open(paths[0]) as cell:
        cell.transpose(PIL.Image.Transpose.ROTATE_180).save(paths[2])
    with pytest.raises(DataError, match="are not those of the training"):
        export_bundle(checkpoint, tmp_path / "b", data_dir=other)


def test_a_precision_that_changes_answers_is_not_used(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Rough(parity.OpenVINOBackend):
        def infer(self, images: np.ndarray) -> Outputs:
            outputs = super().infer(images)
            return Outputs(outputs.logits + (self.rough * np.eye(8)[3]).astype(np.float32), outputs.features, None)

        def __init__(self, model: bytes, precision: str, int8_model: bytes):
            super().__init__(model, "f32")
            self.rough = precision != "f32"

    monkeypatch.setattr(parity, "OpenVINOBackend", Rough)
    monkeypatch.setattr(parity, "has_bfloat16", lambda: True)
    report = export_bundle(checkpoint, tmp_path / "b", precision="int8")
    assert not report.has_int8
    assert not (tmp_path / "b" / "model.int8.onnx").exists()
    assert report.cpu_precision == load_bundle(tmp_path / "b").cpu_precision == "f32"
    assert [check.passed for check in report.checks] == [True, True, False, False, False, True]


def test_the_shipped_parity_holds():
    bundle = load_bundle()
    metrics, checks = bundle.manifest.metrics, bundle.manifest.parity.checks
    assert metrics["select"].top1 >= 0.97
    assert bundle.manifest.source.split_sha256 == read_split(ROOT / "splits" / "pbc-all.csv").sha256
    used = {(check.graph, check.runner) for check in checks if check.passed}
    emulated = ("half", "ONNX Runtime, float16 rounding emulated")
    on_cpu = ("int8" if bundle.cpu_precision == INT8 else "half", f"OpenVINO, {bundle.cpu_precision}")
    assert used == {("float32", "ONNX Runtime, float32"), emulated, on_cpu}
    for check in checks:
        assert check.count == 392
        assert check.passed == (
            check.max_probability_difference <= check.limit and abs(check.correct - check.reference_correct) <= 1
        )
    for text in ((bundle.directory / "MODEL_CARD.md").read_text(), (ROOT / "README.md").read_text()):
        assert f"{metrics['report'].correct} of 392" in text


def test_the_model_card_says_which_layers_no_paper_tells():
    manifest = load_bundle().manifest
    card = model_card(msgspec.structs.replace(manifest, source=msgspec.structs.replace(manifest.source, arch="apl_sa")))
    assert "layers is our reading" in " ".join(card.split())
    assert "our reading" not in model_card(manifest)


def test_the_shipped_model_card_is_that_of_its_manifest():
    bundle = load_bundle()
    assert model_card(bundle.manifest) == (bundle.directory / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_the_manifest_is_plain_json(exported: Path):
    assert json.loads((exported / "bundle.json").read_text())["source"]["split_unit"] == "split by image"
