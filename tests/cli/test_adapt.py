import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeBackend
from typer.testing import CliRunner

from cartcls.calibration import adapted_head
from cartcls.calibration.adapted_head import HomeCells
from cartcls.calibration.limits import gaussians
from cartcls.calibration.own_cells import OwnCells
from cartcls.cli import app, show
from cartcls.export import adapted, reheaded
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.inference import choose


def test_labelled_cells_become_a_bundle(
    bundle: Bundle, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("ig", "monocyte"):
        for cell in (data_dir / name).iterdir():
            (tmp_path / "own" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(cell, tmp_path / "own" / name)
    extra = sorted((data_dir / "basophil").iterdir()) + sorted((data_dir / "neutrophil").iterdir())
    for cell, name in zip(extra, ["ig", "monocyte"] * 4, strict=True):
        shutil.copy(cell, tmp_path / "own" / name)
    usual = gaussians(np.random.default_rng(0).normal(size=(80, 3072)), np.arange(80) % 8)
    home = HomeCells(usual.means, np.arange(8), [entry.name for entry in bundle.classes])
    made: list[OwnCells] = []

    def write(start, found, own, curve, backend, out):  # type: ignore[no-untyped-def]
        made.append(own)
        assert curve.startswith(b"\x89PNG")
        return load_bundle()

    monkeypatch.setattr(reheaded, "check_reheadable", lambda bundle, out: usual)
    monkeypatch.setattr(adapted_head, "read_home_cells", lambda bundle: home)
    monkeypatch.setattr(adapted, "write_adapted", write)
    monkeypatch.setattr(choose, "open_backend", lambda *arguments, **options: FakeBackend())
    monkeypatch.setattr(show, "adapted", lambda bundle: None)
    done = CliRunner().invoke(app, ["adapt", str(tmp_path / "own"), "--out", str(tmp_path / "ours"), "--json"])
    assert done.exit_code == 0, done.output
    assert made[0].cells.classes == ["ig", "monocyte"]
    assert made[0].views.features.shape == (16, 3072)
