import csv
from pathlib import Path

import pytest
from counted import count_slides
from typer.testing import CliRunner

from cartcls.cli import app
from cartcls.runtime.bundle.bundle import Bundle


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)], env={"COLUMNS": "120"})
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("path", ["1.jpg", ""])
def test_figures_and_the_path_of_the_page(path: str, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    out = count_slides(tmp_path / "out", bundle, {"s-1": {"neutrophil": 1}, "s-2": {"lymphocyte": 1}})
    rows = [("slide", "path", "label"), ("s-1", path, "neutrophil"), ("s-2", path, "lymphocyte")]
    csv_file = tmp_path / "manual.csv"
    with csv_file.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(rows)
    code, said, warned = run(out, csv_file, "--to", tmp_path / "to")
    assert code == 0
    assert said.splitlines()[-1] == str(tmp_path / "to" / "compare.html")
    if path:
        assert "2 of 2 cells have the same label: 100.0%, 95 % interval" in said
        assert "Cohen's kappa 1.000, 95 % interval 1.000 to 1.000, bootstrapped by slide (2 slides)" in said
        assert "warning: the interval of κ is of 2 slides only" in warned
    else:
        assert "12 of 12 percentages of 2 slides are within the two-sample limits" in said
        assert warned == ""
        csv_file.write_text("slide,path,label\ns-1,,neutrophil\n")
        assert "6 of 6 percentages of 1 slide are within" in run(out, csv_file, "--to", tmp_path / "to")[1]
