from pathlib import Path

import pytest
from typer.testing import CliRunner

from cartcls.calibration.unlabelled import UnlabelledCells
from cartcls.cli import app
from cartcls.export import reheaded, standardised
from cartcls.runtime.bundle.bundle import Bundle, load_bundle


def test_a_folder_of_cells_makes_a_bundle(
    slide: Path, labels: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[tuple[Bundle, UnlabelledCells, Path]] = []
    monkeypatch.setattr(reheaded, "check_reheadable", lambda bundle, out: None)
    monkeypatch.setattr(standardised, "write_standardised", lambda *arguments: made.append(arguments))
    out = tmp_path / "ours"
    done = CliRunner().invoke(app, ["standardise", str(slide), "--out", str(out)])
    assert done.exit_code == 0, done.output
    ((bundle, cells, where),) = made
    assert (bundle.name, where, len(cells.files)) == ("rcmnet-pbc8", out, len(labels))
    assert bundle.home_scale is not None
    assert bundle.home_scale != load_bundle().home_scale
    assert done.stdout.splitlines() == [
        f"features standardised by {len(labels)} cells without a label",
        "not calibrated: every cell is for review. Calibrate it with `cartcls calibrate`",
        str(out),
    ]


def test_a_folder_without_cells_is_refused_before_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reheaded, "check_reheadable", lambda bundle, out: None)
    done = CliRunner().invoke(app, ["standardise", str(tmp_path), "--out", str(tmp_path / "ours")])
    assert done.exit_code == 1
    assert "holds no image" in str(done.exception)
