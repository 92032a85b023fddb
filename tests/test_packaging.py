import ast
import re
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from reviewer import corrections

ROOT = Path(__file__).parent.parent
OF_EXTRAS = ("matplotlib", "onnx", "scikit", "scipy")


def test_every_folder_of_code_is_packaged():
    setup = ast.parse((ROOT / "setup.py").read_text())
    (packaged,) = [ast.literal_eval(line.value) for line in setup.body if isinstance(line, ast.Assign)]
    parts = [path.parent for path in ROOT.glob("*/__init__.py")]
    assert sorted(packaged) == sorted(part.name for part in parts)
    for part in parts:  # setup.py finds the folders in it that have an `__init__.py`
        assert all((file.parent / "__init__.py").exists() for file in part.glob("**/*.py"))


def test_the_container_is_given_what_the_wheel_is_made_of_and_nothing_else():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    parts = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert names == {"pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE", *parts}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in lines if line.startswith("!")} == names


def test_the_edge_needs_no_pytorch():
    base = [requirement for requirement in requires("cartcls") or () if "extra ==" not in requirement]
    assert base
    assert not [requirement for requirement in base if requirement.startswith(("torch", "pytorch", *OF_EXTRAS))]


def test_the_extra_rtx_is_all_that_an_engine_for_another_gpu_needs():
    rtx = {re.split("[<>=;]", needed)[0] for needed in requires("cartcls") or () if needed.endswith('== "rtx"')}
    assert rtx == {"cuda-bindings", "onnx", "onnxruntime", "tensorrt-rtx"}
    others = ("matplotlib", "onnx_ir", "onnxscript", "scipy", "sklearn", "timm", "torch")
    code = f"import sys; sys.modules.update(dict.fromkeys({others})); import cartcls.export.engine as e"
    code += "\nfrom cartcls.export import parity, retype"
    subprocess.run([sys.executable, "-c", code], check=True)


def without_extras(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run cartcls where none of the extras for calibration and training is installed."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({[*OF_EXTRAS, 'sklearn', 'torch']}));"
        " from cartcls.cli import main; main()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_edge_needs_no_extra(slide: Path, tmp_path: Path):
    def runs(*arguments: object, code: int = 0) -> None:
        done = without_extras(*arguments)
        assert done.returncode == code, done.stderr

    folder, out = tmp_path / "captures" / "slide", tmp_path / "out"
    folder.mkdir(parents=True)
    shutil.copy(slide / "cell-01.jpg", folder)
    runs("batch", folder, "--out", out, "--backend", "openvino")
    runs("watch", folder.parent, "--once", "--out", tmp_path / "watched", "--backend", "openvino")
    runs("correct", out, corrections(out, (1, "monocyte")), "--by", "Ada")
    runs("correct", out, "--export", tmp_path / "cells")
    runs("verify", out)
    runs("rebuild", out)
    runs("export", "--target", "sm1", code=4)  # no TensorRT builds for that


def test_evaluate_and_calibrate_say_what_to_install(data_dir: Path, split_file: Path):
    calibrate = ("calibrate", "x", data_dir, "--split", split_file)
    for command in (("evaluate", data_dir), calibrate, ("compare", "out", "manual.csv")):
        done = without_extras(*command)
        assert done.returncode == 1
        assert done.stderr.endswith(" is not installed: pip install '.[calibration]' in the clone of cartcls\n")


def test_notices_lie_beside_what_they_are_for():
    notice = (ROOT / "NOTICE").read_text()
    assert "CC BY 4.0" in notice
    for copy in ("examples/NOTICE", "runtime/bundles/rcmnet-pbc8/NOTICE"):
        assert (ROOT / copy).read_text() == notice


@pytest.mark.slow
def test_the_wheel_alone_classifies_in_an_empty_environment(slide: Path, tmp_path: Path):
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "build", "--wheel", "-o", tmp_path / "dist", source], check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    bin = tmp_path / "venv" / "bin"
    subprocess.run([bin / "pip", "install", "--quiet", wheel], check=True)
    folder = Path(shutil.copytree(slide, tmp_path / "Träger 1"))
    done = subprocess.run(
        [bin / "cartcls", "batch", folder.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cartcls-reports" / "Träger 1" / "report.html").exists()
    assert subprocess.run([bin / "python", "-c", "import torch"], capture_output=True, check=False).returncode == 1
