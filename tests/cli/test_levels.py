import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from fakes import FakeBackend
from typer.testing import CliRunner

from cartcls.calibration.split import list_images
from cartcls.calibration.unlabelled import find_cells
from cartcls.cli import app
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.console import EXIT_UNREADABLE
from cartcls.runtime.errors import DataError, SlideError, UsageError
from cartcls.runtime.images.decode import decode, read_image
from cartcls.runtime.images.levels import Levels
from cartcls.runtime.inference import choose, worker
from cartcls.runtime.ledger.folder import existing_ledger
from cartcls.runtime.ledger.records import Correction, now
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.reports.export_reviewed import export_reviewed

THUMBNAILS_OF_THIRD = "slide/thumbnails/000003.jpg", "next/thumbnails/000001.jpg"


@pytest.fixture
def captured(slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A capture folder with one slide: two cells of a camera with 12 bits."""
    for module, name in ((choose, "open_backend"), (worker, "open_in_child")):
        monkeypatch.setattr(module, name, lambda *arguments, **options: FakeBackend())
    folder = tmp_path / "captures"
    (folder / "slide").mkdir(parents=True)
    for number in (1, 2):
        write_deep(folder / "slide" / f"{number}.png", read_image(slide / f"cell-{number:02d}.jpg")[0], 4095)
    return folder


def write_deep(file: Path, pixels: npt.NDArray[np.uint8], white: int) -> None:
    file.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(file), np.rint(pixels * (white / 255)).astype(np.uint16))


def commands(captured: Path, out: Path) -> dict[str, list[str]]:
    return {
        "batch": ["batch", str(captured / "slide"), "--out", str(out)],
        "watch": ["watch", str(captured), "--once", "--out", str(out)],
    }


def statuses(out: Path) -> list[str]:
    (report,) = out.glob("slide/cells.csv")
    return [row["status"] for row in csv.DictReader(report.read_text(encoding="utf-8-sig").splitlines())]


@pytest.mark.parametrize("name", ["batch", "watch"])
def test_a_run_says_which_value_is_white_and_the_next_one_with_it_classifies(captured: Path, tmp_path: Path, name: str):
    out = tmp_path / "out"
    command = commands(captured, out)[name]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, statuses(out)) == (EXIT_UNREADABLE, ["rejected", "rejected"])
    assert "--white 4095" in done.output
    done = CliRunner().invoke(app, [*command, "--white", "4095"])
    assert done.exit_code == 0, done.output
    assert "rejected" not in statuses(out)


def test_a_slide_keeps_its_levels(captured: Path, tmp_path: Path):
    out = tmp_path / "out"
    command = commands(captured, out)["batch"]
    declared = [*command, "--black", "10", "--white", "4095"]
    for _ in range(2):
        done = CliRunner().invoke(app, declared)
        assert done.exit_code == 0, done.output
    before = (out / "slide" / "cells.csv").read_bytes()
    for other in (command, [*command, "--white", "4095"], [*declared[:-1], "4000"]):
        done = CliRunner().invoke(app, other)
        assert isinstance(done.exception, SlideError)
        assert (
            "was classified with --black 10 --white 4095: do so again, or start it anew, with the other options as now:"
            " cartcls batch"
        ) in str(done.exception)
    assert (out / "slide" / "cells.csv").read_bytes() == before
    anew = [*command, "--white", "4000", "--fresh"]
    assert CliRunner().invoke(app, anew).exit_code == 0
    assert CliRunner().invoke(app, anew[:-1]).exit_code == 0


@pytest.mark.parametrize("name", ["batch", "watch"])
def test_labels_of_files_of_eight_bits_bind_to_no_levels(captured: Path, tmp_path: Path, slide: Path, name: str):
    out = tmp_path / "out"
    command = commands(captured, out)[name]
    deep = [file.rename(tmp_path / file.name) for file in sorted((captured / "slide").iterdir())]
    shutil.copy(slide / "cell-03.jpg", captured / "slide")
    assert CliRunner().invoke(app, command).exit_code == 0
    for file in deep:
        file.rename(captured / "slide" / file.name)
    done = CliRunner().invoke(app, [*command, "--white", "4095"])
    assert done.exit_code == 0, done.output
    assert "was classified" not in done.output
    assert len(statuses(out)) == 3
    refused = CliRunner().invoke(app, commands(captured, out)["batch"])
    assert isinstance(refused.exception, SlideError)


def test_a_watch_goes_on_with_a_slide_by_its_own_levels_and_with_others_by_those_declared(
    captured: Path, tmp_path: Path, slide: Path
):
    out = tmp_path / "out"
    command = commands(captured, out)["watch"]
    assert CliRunner().invoke(app, [*command, "--white", "4095"]).exit_code == 0
    for folder, name in (("slide", "3.png"), ("next", "1.png")):
        write_deep(captured / folder / name, read_image(slide / "cell-03.jpg")[0], 4095 if folder == "slide" else 4000)
    done = CliRunner().invoke(app, [*command, "--white", "4000"])
    assert done.exit_code == 0, done.output
    (warning,) = [line for line in done.output.splitlines() if "warning: " in line and "--white" in line]
    assert f"{captured / 'slide'} was classified with --white 4095: its new files are too" in warning
    assert re.search(r"with the other options as now: cartcls batch .* --white 4000 --fresh ", warning)
    assert len(statuses(out)) == 3
    colours = [PIL.Image.open(out / name).resize((1, 1)) for name in THUMBNAILS_OF_THIRD]
    assert colours[0].tobytes() == colours[1].tobytes()


@pytest.mark.parametrize("name", ["batch", "watch"])
def test_the_result_tells_declared_levels_where_they_made_a_label(
    captured: Path, tmp_path: Path, slide: Path, name: str
):
    out = tmp_path / "out"
    (captured / "eight").mkdir()
    shutil.copy(slide / "cell-03.jpg", captured / "eight")
    command = [*commands(captured, out)[name], "--black", "10", "--white", "4095"]
    assert CliRunner().invoke(app, command).exit_code == 0
    if name == "batch":
        command[1] = str(captured / "eight")
        assert CliRunner().invoke(app, command).exit_code == 0
    told = "values of 16 bits: 10 black, 4095 white"
    assert json.loads((out / "slide" / "summary.json").read_text())["levels"] == told
    assert f"<dt>levels</dt><dd>{told}</dd>" in (out / "slide" / "report.html").read_text()
    assert "levels" not in json.loads((out / "eight" / "summary.json").read_text())


@pytest.mark.parametrize("name", ["settle", "requeue"])
def test_what_was_rejected_is_tried_again_though_the_first_run_with_other_levels_was_killed(
    captured: Path, tmp_path: Path, name: str
):
    out = tmp_path / "out"
    command = commands(captured, out)["watch"]
    assert CliRunner().invoke(app, command).exit_code == EXIT_UNREADABLE
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(SlideLedger, name)
        assert isinstance(CliRunner().invoke(app, [*command, "--white", "4095"]).exception, AttributeError)
    assert CliRunner().invoke(app, [*command, "--white", "4095"]).exit_code == 0
    assert "rejected" not in statuses(out)


@pytest.mark.parametrize("name", ["batch", "watch"])
def test_levels_that_cannot_be_are_an_error_of_the_command_line(captured: Path, tmp_path: Path, name: str):
    done = CliRunner().invoke(app, [*commands(captured, tmp_path / "out")[name], "--black", "5", "--white", "5"])
    assert isinstance(done.exception, UsageError)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def exported(captured: Path, tmp_path: Path, bundle: Bundle) -> Path:
    """An export of a slide with declared levels."""
    out = tmp_path / "out"
    assert CliRunner().invoke(app, [*commands(captured, out)["batch"], "--white", "4095"]).exit_code == 0
    with existing_ledger(out) as (ledger, _):
        (ledger_of_slide,) = ledger.slides()
        cells = list(ledger_of_slide.cells())
        names = [entry.name for entry in bundle.classes]
        made = [
            Correction(cell.seq, cell.sha256 or "", cell.label or "", name, "Ada", now())
            for cell, name in zip(cells, names, strict=False)
        ]
        ledger_of_slide.correct(made, [one.applied_to(cell) for one, cell in zip(made, cells, strict=True)])
    (slide,) = export_reviewed(out, tmp_path / "cells").summary.slides
    assert slide.levels == Levels(0, 4095)
    return tmp_path / "cells"


def test_an_export_of_declared_levels_is_learned_from_only_with_eight_bits(exported: Path):
    with pytest.raises(DataError, match=r"slide was classified with --white 4095, .* with 8 bits, .* the same names"):
        list_images(exported, False)
    with pytest.raises(DataError, match="with 8 bits"):
        find_cells(exported)
    for file in exported.glob("*/*.png"):
        cv2.imwrite(
            str(file), cv2.cvtColor(decode(file.read_bytes(), levels=Levels(0, 4095)).pixels, cv2.COLOR_RGB2BGR)
        )
    assert len(list_images(exported, False)) == len(find_cells(exported)) == 2
