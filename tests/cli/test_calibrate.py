import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes import FakeBackend, KnowingBackend, of_two_classes
from msgspec import structs
from samples import RUN, a_cell
from typer.testing import CliRunner

from cartcls.calibration.adapted_head import read_home_cells
from cartcls.cli import app, show, show_watch
from cartcls.runtime.bundle.bundle import SHIPPED, Bundle, load_bundle
from cartcls.runtime.errors import CartclsError, DataError
from cartcls.runtime.inference import choose as backends
from cartcls.runtime.ledger.records import Status
from cartcls.runtime.reports.slide_state import SlideState
from cartcls.runtime.reports.summary import Summary, summarize


@pytest.fixture
def own(calibrated: Bundle, tmp_path: Path) -> Path:
    """A bundle of a laboratory's own."""
    return Path(shutil.copytree(calibrated.directory, tmp_path / "mine"))


def test_a_bundle_is_calibrated_in_its_place(
    own: Path, many_cells: tuple[Path, Path], knowing: KnowingBackend, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(backends, "open_backend", lambda *arguments, **options: knowing)
    before = load_bundle(own).sha256
    options = ["--split", str(many_cells[1]), "--max-error", "5%"]
    done = CliRunner().invoke(app, ["calibrate", str(own), str(many_cells[0]), *options])
    assert done.exit_code == 0, done.output
    assert (
        "estimated, no promise: at most 5.00% of all cells are wrong and marked ok, with 95% confidence" in done.stdout
    )
    assert "in a natural mix (neutrophil 60%" in done.stdout
    assert done.stdout.splitlines()[-1] == str(own)
    assert "this is not the split that the weights were trained with" in " ".join(done.stderr.split())
    assert load_bundle(own).sha256 != before
    kept = read_home_cells(load_bundle(own))
    assert kept.measures is not None and kept.measures.moments.shape == (len(kept.labels), 3, 3)
    assert 0.1 < np.median(kept.measures.diameters) < 0.6
    home = load_bundle(own).home_scale
    assert home is not None and home != load_bundle().home_scale
    assert home.red_cell_px == pytest.approx(75.5, rel=0.1)
    done = CliRunner().invoke(
        app, ["calibrate", str(own), str(many_cells[0]), *options, "--json", "--out", str(own.with_name("other"))]
    )
    record = json.loads(done.stdout)
    assert record["promise"]["cells"] == 640
    assert record["promise"]["natural"]["cells"] == 133
    assert (record["promise"]["slides"], len(record["calibrate"]["confusion"])) == (None, 8)
    assert not record["split_of_training"]
    assert record["promise"]["sentence"].endswith("if no cell of `select` or `calibrate` was in that training")
    assert load_bundle(own.with_name("other")).calibrated


def test_too_few_cells_say_how_many_are_needed(own: Path, data_dir: Path, tmp_path: Path):
    split = tmp_path / "cells.csv"
    parts = ("fit", "fit", "select", "calibrate")
    rows = [
        f"{path.relative_to(data_dir).as_posix()},{part}"
        for folder in sorted(data_dir.iterdir())
        for path, part in zip(sorted(folder.iterdir()), parts, strict=True)
    ]
    split.write_text("\n".join(["path,part", *rows]) + "\n")
    with pytest.raises(DataError, match="at least 16 are needed, and 299 in `calibrate` to guarantee"):
        CliRunner().invoke(app, ["calibrate", str(own), str(data_dir), "--split", str(split)], catch_exceptions=False)


def test_where_nothing_can_be_guaranteed_every_cell_is_for_review_and_every_screen_says_so(
    own: Path,
    slide: Path,
    labels: dict[str, str],
    tmp_path: Path,
    knowing: KnowingBackend,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(backends, "open_backend", lambda *arguments, **options: knowing)
    rows = ["path,part"]
    for name, label in labels.items():
        (tmp_path / "cells" / label).mkdir(parents=True, exist_ok=True)
        for part in ("fit", "select", "calibrate"):
            file = tmp_path / "cells" / label / f"{part}-{name}"
            file.write_bytes((slide / name).read_bytes() + part.encode())
            rows.append(f"{label}/{file.name},{part}")
    (tmp_path / "cells.csv").write_text("\n".join(rows) + "\n")
    done = CliRunner().invoke(
        app, ["calibrate", str(own), str(tmp_path / "cells"), "--split", str(tmp_path / "cells.csv")]
    )
    assert done.exit_code == 1
    said = " ".join(done.stderr.split())
    problem = re.search(
        r"error: (not calibrated: at least \d+ labelled cells that pass the checks are needed, there are \d+)", said
    )
    assert problem, said
    assert f"{own} was written, and marks every cell for review" in said
    assert load_bundle(own).problem == problem[1]
    assert f"**N{problem[1][1:]}. Every cell is for review.**" in (own / "MODEL_CARD.md").read_text()
    done = CliRunner().invoke(app, ["batch", str(slide), "--bundle", str(own), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert f"warning: {problem[1]}. Every cell is for review" in " ".join(done.stderr.split())
    unknown = load_bundle(own).manifest.unknown_cells
    assert " ".join(done.stdout.split()).startswith(f"{unknown} warning: {problem[1]}. Every cell is for review")
    assert "32 images: 32 review" in done.stdout
    with (tmp_path / "out" / "slide-01" / "cells.csv").open(encoding="utf-8-sig") as file:
        assert all(row["reason"].split("; ")[0] == "not calibrated" for row in csv.DictReader(file))
    page = (tmp_path / "out" / "slide-01" / "report.html").read_text()
    assert page.index(f"<b>N{problem[1][1:]}. Every cell is for review.</b>") < page.index("PRELIMINARY")


def test_the_shipped_bundle_needs_another_place(many_cells: tuple[Path, Path]):
    with pytest.raises(CartclsError, match="--out"):
        CliRunner().invoke(
            app,
            ["calibrate", str(SHIPPED), str(many_cells[0]), "--split", str(many_cells[1])],
            catch_exceptions=False,
        )


@pytest.mark.parametrize("share", ["0", "60%", "one", "1%%", "-1%"])
def test_a_share_that_is_none_is_wrong_usage(own: Path, many_cells: tuple[Path, Path], share: str):
    arguments = ["calibrate", str(own), str(many_cells[0]), "--split", str(many_cells[1]), "--max-error", share]
    assert CliRunner().invoke(app, arguments).exit_code == 2


def a_summary(bundle: Bundle, warning: str) -> Summary:
    counts: dict[Status, int] = {"ok": 4, "review": 3, "rejected": 2, "duplicate": 1}
    cells = [a_cell(number, status=status) for status, count in counts.items() for number in range(count)]
    return structs.replace(summarize(bundle, RUN, cells, SlideState(waiting=1)), warnings=[warning])


def test_what_must_be_known_is_told_first_on_the_command_line(bundle: Bundle, capsys: pytest.CaptureFixture[str]):
    show.finished(Path("out"), a_summary(bundle, "this slide is unlike those"))
    assert capsys.readouterr().out.splitlines()[0] == "warning: this slide is unlike those"


def test_the_view_of_a_watch_counts_what_awaits_review_and_keeps_the_last_message(
    bundle: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(show_watch, "last_message", ["the disk is full"])
    summary = a_summary(bundle, "the colours have left")
    watch: Any = SimpleNamespace(slides=[SimpleNamespace(summary=summary)], waiting=lambda: 1, done=10)
    show.results.print(show_watch._view(watch, 1.0))
    title, header, first, warning, message = capsys.readouterr().out.splitlines()
    assert title.startswith("1 slide, 10 cells, 1 waiting")
    assert header.split() == ["slide", "cells", "for", "review", "waiting", "rejected", "differential"]
    assert first.split() == ["s-1", "7", "3", "1", "2", "7", "lymphocyte"]
    assert warning.index("the colours") == first.index("7 lymphocyte")
    assert message.strip() == "last message: the disk is full"
    watch.slides[0].summary = summarize(of_two_classes(bundle), RUN, [a_cell(1)])
    show.results.print(show_watch._view(watch, 1.0))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:2]] == ["finding"]
    assert lines[2].split()[-2:] == ["1", "lymphocyte"]


def test_a_promise_made_on_another_backend_is_told(calibrated: Bundle, capsys: pytest.CaptureFixture[str]):
    show.started(calibrated, FakeBackend())
    assert "calibrated on" not in capsys.readouterr().err
    other = FakeBackend()
    other.precision = "bf16"
    show.started(calibrated, other)
    assert "it was calibrated on fake, f32: its guarantee was not measured on this backend" in capsys.readouterr().err
