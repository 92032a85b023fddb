import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import FakeBackend
from reviewer import classify, corrections, make_slide
from typer.testing import CliRunner

from cartcls.cli import app, loading
from cartcls.cli.options import seconds
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import SHIPPED, Bundle, load_bundle
from cartcls.runtime.slides import service
from cartcls.runtime.slides.watch import Watch
from cartcls.train.commands import app as train

ROOT = Path(__file__).parents[2]


def cartcls(
    *arguments: str | Path, module: str = "cartcls.cli", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)


@pytest.mark.parametrize("command", [[], ["train"], ["train", "fit"]])
def test_importing_and_help_load_nothing_heavy(command: list[str]):
    code = (
        "import sys, cartcls.runtime, cartcls.cli\n"
        f"try: cartcls.cli.app({[*command, '--help']})\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'tensorrt', 'openvino', 'cv2', 'numpy'} & sys.modules.keys()\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("1s", 1), ("0.5 s", 0.5), (".5", 0.5), (2.0, 2)])
def test_a_time_is_written_with_its_unit_or_without(text: str | float, expected: float):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["0.05", "-1", "2m", "soon", "nan", ""])
def test_a_time_that_is_none_is_wrong_usage(text: str, tmp_path: Path):
    done = CliRunner().invoke(app, ["watch", str(tmp_path), "--poll", "1s", f"--quiet={text}"])
    assert done.exit_code == 2
    assert "'--quiet'" in done.stderr
    assert "such as 2" in done.stderr


def test_batch_shows_the_differential_and_names_the_report(slide: Path, tmp_path: Path):
    done = cartcls("batch", slide, "--out", tmp_path, "--backend", "openvino")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^class +counted +expected +share +95 % interval$", done.stdout, re.MULTILINE)
    assert re.search(r"^erythroblast +[0-9]+ +[0-9]+ to [0-9]+ ", done.stdout, re.MULTILINE)
    assert done.stdout.splitlines()[-1] == str(tmp_path / "slide-01" / "report.html")
    assert "openvino" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_folder_of_slides_gives_one_report_or_one_for_each(slide: Path, tmp_path: Path):
    for folder, cell in (("17", "cell-01.jpg"), ("18", "cell-02.jpg")):
        (tmp_path / "slides" / folder).mkdir(parents=True)
        shutil.copy(slide / cell, tmp_path / "slides" / folder)
    (tmp_path / "slides" / "18" / "notes.pdf").touch()
    done = cartcls("batch", "slides", "--each", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(one["slide"], one["images"]) for one in json.loads(done.stdout)] == [("17", 1), ("18", 1)]
    assert "18: left out: 1 file that is no image (.pdf)" in done.stderr
    done = cartcls("batch", "slides", "--one-slide", "--json", "--out", "one", cwd=tmp_path)
    assert [(one["slide"], one["images"]) for one in json.loads(done.stdout)] == [("slides", 2)]


def test_a_slide_that_is_refused_stops_no_other(
    slide: Path, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    slides = [tmp_path / name for name in ("a", "b", "c")]
    for folder in slides:
        folder.mkdir()
        shutil.copy(slide / "cell-01.jpg", folder)
    monkeypatch.setattr(loading, "open_classifier", lambda *given, **options: Classifier(bundle, FakeBackend()))
    command = ["batch", *map(str, slides), "--out", str(tmp_path / "out"), "--json"]
    assert CliRunner().invoke(app, command).exit_code == 0
    (slides[0] / "cell-01.jpg").unlink()
    (slides[2] / "cell-01.jpg").unlink()
    shutil.copy(slide / "cell-02.jpg", slides[1])
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert [(one["slide"], one["images"]) for one in json.loads(done.stdout)] == [("b", 2)]
    assert done.stderr.count("error: 1 of 1 images that have a label are gone") == 2
    assert str(done.exception) == f"2 of 3 slides were refused (see above): {slides[0]}, {slides[2]}"


def test_json_goes_to_stdout_alone_and_unreadable_images_exit_with_3(slide: Path, tmp_path: Path):
    folder = Path(shutil.copytree(slide, tmp_path / "Über slide"))
    (folder / "broken.jpg").write_bytes(b"junk")
    done = cartcls("batch", folder, "--out", tmp_path / "out", "--json")
    assert done.returncode == 3, done.stderr
    (summary,) = json.loads(done.stdout)
    assert "Über slide: rejected: broken.jpg: is not a JPEG" in done.stderr
    assert summary["status"]["rejected"] == 1
    assert Path(summary["report"]) == tmp_path / "out" / "Über slide"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["batch", "nowhere"], 1, "is not a folder"),
        (["batch", "slides/17", "--bundle", "nowhere"], 1, "is not a bundle"),
        (["batch"], 2, "Missing argument"),
        (["batch", ".", "--backend", "abacus"], 2, "abacus"),
        (["batch", "empty"], 1, "empty holds no image"),
        (["batch", "slides"], 2, "slides holds images in 2 folders side by side (17, 18)"),
        (["correct", "."], 2, "give a file of corrections, or --export"),
        (["correct", ".", "corrections.csv"], 2, "--by"),
        (["correct", ".", "nowhere.csv", "--by", "Ada"], 1, "nowhere.csv cannot be read"),
        (["rebuild", ".", "--pages"], 1, "has no cartcls ledger"),
        (["export", "nowhere.ckpt", "--out", "x"], 1, "nowhere.ckpt does not exist: name a checkpoint such as"),
        (["export", "--fp16", "--fp32"], 2, "give only one precision"),
        (["export", "--fp16", "--int8"], 2, "give only one precision"),
        (["export", str(SHIPPED), "--out", "x", "--report"], 2, "--out, --report"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(tmp_path: Path, arguments: list[str], code: int, message: str):
    for folder in ("empty", "slides/17", "slides/18"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("17", "18"):
        (tmp_path / "slides" / folder / "1.jpg").touch()
    done = cartcls(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_corrections_come_back_and_go_out_as_class_folders(slide: Path, tmp_path: Path):
    folder = make_slide(slide, tmp_path / "slide")
    out = classify(folder, load_bundle())
    first = cartcls("correct", out, corrections(out, (1, "monocyte")), "--by", "Ada B.")
    assert "1 label changed, 0 confirmed" in first.stdout
    file = corrections(out, *((seq, "monocyte") for seq in range(1, 5)), **{"from": "eosinophil"})
    done = cartcls("correct", out, file, "--by", "Ada B.")
    assert done.returncode == 0, done.stderr
    assert "3 labels changed, 0 confirmed" in done.stdout
    assert "already applied: 1 row of the file" in done.stdout
    assert done.stdout.splitlines()[-1] == str(out / "slide" / "report.html")
    assert next(line for line in done.stdout.splitlines() if "eosin" in line).split()[:3] == ["eosinophil", "7", "4"]
    assert "10 images: 4 review, 4 reviewed, 1 rejected, 1 duplicate" in cartcls("batch", folder, "--out", out).stdout
    (folder / "cell-02.jpg").unlink()
    exported = cartcls("correct", out, "--export", tmp_path / "cells", "--json")
    assert exported.returncode == 3
    assert json.loads(exported.stdout)["exported"]["summary"]["cells"] == 3
    assert cartcls("rebuild", out, "--pages").stdout.splitlines() == [str(out / "slide" / "report.html")]
    assert cartcls("verify", out).returncode == 0


def test_evaluate_prints_figures_and_json(data_dir: Path, split_file: Path, tmp_path: Path):
    options = ["--split", split_file, "--part", "report", "--out", tmp_path / "out"]
    done = cartcls("evaluate", data_dir, *options)
    assert done.returncode == 0, done.stderr
    assert "of 8 right (report, split by image)" in done.stdout
    assert done.stdout.splitlines()[-1] == str(tmp_path / "out" / "mistakes.html")
    assert json.loads(cartcls("evaluate", data_dir, *options, "--json").stdout)["count"] == 8


def test_doctor_prints_what_a_script_can_read(tmp_path: Path):
    done = cartcls("doctor", tmp_path, "--out", tmp_path / "reports", "--json")
    assert done.returncode == 0, done.stderr
    findings = json.loads(done.stdout)
    assert {"python", "GPU", "CPU", "bundle", "engine", "reports", "captures"} <= {f["subject"] for f in findings}
    assert {finding["level"] for finding in findings} <= {"ok", "note", "warning"}


def test_doctor_fails_where_a_run_would(tmp_path: Path):
    done = cartcls("doctor", "nowhere", "--bundle", "none", cwd=tmp_path)
    assert done.returncode == 1
    assert "none is not a bundle" in done.stdout
    assert "→ create it, or name another" in done.stdout


def test_a_watch_says_where_the_reports_go_when_it_starts_and_when_it_is_stopped(
    slide: Path, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    def stop_at_once(watched: Watch, stop: service.Stop, *others: object) -> None:
        watched.step()
        stop.set()

    monkeypatch.setattr(loading, "open_classifier", lambda *given, **options: Classifier(bundle, FakeBackend()))
    monkeypatch.setattr(service, "run", stop_at_once)
    shutil.copytree(slide, tmp_path / "captures" / "17")
    done = CliRunner().invoke(app, ["watch", str(tmp_path / "captures"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("This model has no class for blasts")
    assert done.stderr.splitlines()[1] == f"watching {tmp_path / 'captures'}; reports in {tmp_path / 'out'}"
    assert done.stderr.splitlines()[-1] == f"stopped: 1 slide, reports in {tmp_path / 'out'}"


def test_a_bundle_without_tensorrt_says_what_to_install(tmp_path: Path):
    code = (
        "import sys; sys.modules['tensorrt'] = sys.modules['tensorrt_rtx'] = None\nfrom cartcls.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "export"], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "error: TensorRT is not installed: pip install '.[tensorrt]' in the clone" in done.stderr


def test_version_is_the_packages():
    from importlib.metadata import version

    assert cartcls("--version").stdout == f"cartcls {version('cartcls')}\n"


def test_training_says_what_is_wrong_before_it_trains(tmp_path: Path, data_dir: Path):
    done = cartcls("split", data_dir, "--out", tmp_path / "split.csv", module="cartcls.train")  # the same app
    assert (done.returncode, "fit 24" in done.stderr) == (0, True)
    assert "too few cells for `cartcls calibrate`: select 8 (needs 16), calibrate 0 (needs 30)" in done.stderr
    assert "0 in calibrate: too few to guarantee 1% (at least 299 that pass the checks are needed" in done.stderr
    assert "so about 2990 cells in all)" in done.stderr
    (tmp_path / "other.csv").write_text("path,part\na/1.jpg,fit\n")
    done = cartcls("train", "fit", data_dir, "--split", tmp_path / "other.csv", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "\nerror: the split does not fit" in done.stderr
    assert not (tmp_path / "run").exists()
    done = cartcls("train", "fit", data_dir, "--split", "x", "--out", "y", "--sizes", "128")
    assert done.returncode == 2
    assert "write SIZE:EPOCHS" in done.stderr


def test_training_without_pytorch_says_what_to_install(tmp_path: Path):
    code = (
        "import sys; sys.modules['torch'] = sys.modules['pytorch_lightning'] = None\n"
        "from cartcls.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "train", "fit", ".", "--split", "x", "--out", "y"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "pip install '.[train,export]' in the clone" in done.stderr) == (1, True)


def test_every_command_is_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for start, commands in (("cartcls", app), ("cartcls train", train)):
        for command in commands.registered_commands:
            assert command.callback is not None
            assert f"{start} {command.name or command.callback.__name__}" in readme
