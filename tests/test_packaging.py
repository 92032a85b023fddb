import ast
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_every_folder_of_code_is_packaged():
    setup = ast.parse((ROOT / "setup.py").read_text())
    (packaged,) = [ast.literal_eval(line.value) for line in setup.body if isinstance(line, ast.Assign)]
    parts = [path.parent for path in ROOT.glob("*/__init__.py")]
    assert sorted(packaged) == sorted(part.name for part in parts)
    for part in parts:  # setup.py finds the folders in it that have an `__init__.py`
        assert all((file.parent / "__init__.py").exists() for file in part.glob("**/*.py"))


def test_the_edge_needs_no_pytorch():
    base = [requirement for requirement in requires("cartcls") or () if "extra ==" not in requirement]
    assert base
    assert not [requirement for requirement in base if requirement.startswith(("torch", "pytorch", "onnx"))]


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
