import csv
import json
import shutil
from pathlib import Path

import pytest
from fakes import FakeBackend
from typer.testing import CliRunner

from cartcls.cli import app
from cartcls.runtime.errors import OutputError, UsageError
from cartcls.runtime.inference import choose
from cartcls.runtime.inference.predictions import UNDECIDED

ONE = "not calibrated for an answer restricted to lymphocyte, monocyte (--classes). Every cell is for review"


@pytest.fixture
def captured(slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four cells; the model says eosinophil of each."""
    monkeypatch.setattr(choose, "open_backend", lambda *arguments, **options: FakeBackend())
    folder = tmp_path / "slide"
    folder.mkdir()
    for cell in sorted(slide.glob("*.jpg"))[:4]:
        shutil.copy(cell, folder)
    return folder


def test_table_page_and_summary_say_that_the_answer_was_restricted(captured: Path, tmp_path: Path):
    out = tmp_path / "out"
    options = ["batch", str(captured), "--out", str(out), "--classes", "monocyte,Lymphocyte"]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.output
    assert ONE in " ".join(done.output.split())
    (report,) = out.glob("*/cells.csv")
    rows = list(csv.DictReader(report.read_text(encoding="utf-8-sig").splitlines()))
    assert {row["status"] for row in rows} == {"review"}
    assert all(row["reason"].startswith(UNDECIDED) for row in rows)
    assert {row["label"] for row in rows} <= {"lymphocyte", "monocyte"}
    summary = json.loads((report.parent / "summary.json").read_text(encoding="utf-8"))
    assert ONE in summary["warnings"]
    assert (summary["calibrated"], summary["promise"]) == (False, "")
    assert summary["calibration"]["guaranteed_error"] is None
    assert {row["name"] for row in summary["differential"]["rows"]} == {"lymphocyte", "monocyte"}
    assert f"<b>N{ONE[1:]}.</b>" in (report.parent / "report.html").read_text(encoding="utf-8")
    rebuilt = CliRunner().invoke(app, ["rebuild", str(out)])
    assert rebuilt.exit_code == 0, rebuilt.output
    assert json.loads((report.parent / "summary.json").read_text(encoding="utf-8")) == summary


def test_one_folder_of_reports_has_one_restriction(captured: Path, tmp_path: Path):
    options = ["batch", str(captured), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, [*options, "--classes", "monocyte,lymphocyte"]).exit_code == 0
    assert CliRunner().invoke(app, [*options, "--classes", "lymphocyte,monocyte"]).exit_code == 0
    for others in ([], ["--classes", "monocyte,ig"]):
        done = CliRunner().invoke(app, [*options, *others])
        assert isinstance(done.exception, OutputError)
        assert "were made with --classes lymphocyte,monocyte: do so again, or name another" in str(done.exception)


def test_an_unknown_class_is_an_error_of_the_command_line(captured: Path, tmp_path: Path):
    done = CliRunner().invoke(app, ["batch", str(captured), "--out", str(tmp_path / "out"), "--classes", "blast,ig"])
    assert isinstance(done.exception, UsageError)
    assert not (tmp_path / "out").exists()
