import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from mosaic import HOME_DIAMETER, mosaic
from tiffs import of_tifffile
from typer.testing import CliRunner

from cartcls.cli import app
from cartcls.runtime.errors import ImageError, ScaleError, UsageError
from cartcls.runtime.fields.scale import mpp_of
from cartcls.runtime.images.decode import read_image


@pytest.fixture(scope="module")
def fields(slide: Path, labels: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two fields, of four cells and of two."""
    folder = tmp_path_factory.mktemp("fields")
    names = [name for name, label in labels.items() if label in ("lymphocyte", "neutrophil")][2:8]
    crops = [read_image(slide / name)[0] for name in names]
    files = [folder / "a" / "field.png", folder / "b" / "field.png"]
    for file, part in zip(files, (crops[:4], crops[4:]), strict=True):
        file.parent.mkdir()
        PIL.Image.fromarray(mosaic(part, 2, np.random.default_rng(0)).image).save(file)
    return files


def run(*arguments: object) -> tuple[int, str, str, BaseException | None]:
    done = CliRunner().invoke(app, ["find", *map(str, arguments)], env={"COLUMNS": "120"})
    return done.exit_code, done.stdout, done.stderr, done.exception


def test_a_table_and_copies_with_boxes(fields: list[Path], tmp_path: Path):
    before = [file.read_bytes() for file in fields]
    code, said, _, _ = run(*fields, "--out", tmp_path / "new" / "out")
    assert code == 0
    assert [line.split()[:2] for line in said.splitlines()[1:3]] == [["field.png", "4"], ["field.png", "2"]]
    assert "6 cells in 2 fields; red cell" in said
    assert "(median of the fields)" in said
    copies = sorted((tmp_path / "new" / "out").iterdir())
    assert [copy.name for copy in copies] == ["field.png-2.found.jpg", "field.png.found.jpg"]
    original, drawn = (read_image(path)[0].astype(int) for path in (fields[0], copies[1]))
    green = (drawn[..., 1] > drawn[..., 0] + 40) & (np.abs(original - drawn).max(axis=2) > 60)
    assert np.count_nonzero(green) > 4 * 4 * 60
    assert [file.read_bytes() for file in fields] == before


def test_the_same_as_json(fields: list[Path], tmp_path: Path):
    code, said, _, _ = run(*fields, "--out", tmp_path, "--json")
    found = json.loads(said)
    assert code == 0
    assert [len(field["cells"]) for field in found["fields"]] == [4, 2]
    assert found["diameter"] == pytest.approx(HOME_DIAMETER, rel=0.13)
    assert found["mpp"] == pytest.approx(mpp_of(found["diameter"]))
    assert found["scale_from"] == "red cells"
    assert {"x", "y", "w", "h", "at_edge", "joined"} == set(found["fields"][0]["cells"][0])


def test_a_given_scale_is_taken_and_compared(fields: list[Path], tmp_path: Path):
    code, said, warned, _ = run(*fields, "--out", tmp_path, "--json", "--mpp", "0.1")
    assert code == 0
    assert json.loads(said)["diameter"] == pytest.approx(75)
    assert "warning" not in warned
    _, _, warned, _ = run(*fields, "--out", tmp_path, "--json", "--mpp", "0.25")
    assert "the red cells look like 0." in warned


@pytest.mark.parametrize(("said", "believed"), [(0.09, True), (0.5, False)])
def test_what_a_file_says_of_its_scale_is_taken_where_its_red_cells_agree(
    fields: list[Path], tmp_path: Path, said: float, believed: bool
):
    """Beside fields whose files say nothing."""
    file = tmp_path / "field.tif"
    pixels = read_image(fields[0])[0]
    file.write_bytes(of_tifffile(pixels, resolution=(1e4 / said, 1e4 / said), resolutionunit="CENTIMETER"))
    code, told, warned, _ = run(file, fields[1], "--out", tmp_path / "out", "--json")
    found = json.loads(told)
    assert (code, found["scale_from"]) == (0, "file" if believed else "red cells")
    assert (found["mpp"] == pytest.approx(said, rel=1e-3)) == believed
    assert [field["file_mpp"] for field in found["fields"]] == [pytest.approx(said, rel=1e-3), None]
    assert ("as the files say" in warned) != believed


def test_the_last_line_says_where_the_scale_is_from_and_counts_one(fields: list[Path], tmp_path: Path):
    pixels = read_image(fields[1])[0]
    one, file = pixels[:, : pixels.shape[1] // 2], tmp_path / "field.tif"
    file.write_bytes(of_tifffile(one, resolution=(1e5, 1e5), resolutionunit="CENTIMETER"))
    _, said, _, _ = run(file, "--out", tmp_path / "out")
    assert "1 cell in 1 field; red cell 75.0 px (scale of the files), 0.100 µm per pixel" in said
    _, said, _, _ = run(*fields, "--out", tmp_path / "out", "--mpp", "0.1")
    assert "(--mpp), 0.100 µm per pixel" in said


def test_what_cannot_be_read_is_named_and_the_others_are_looked_at(fields: list[Path], tmp_path: Path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(fields[0].read_bytes()[:5000])
    code, said, warned, _ = run(broken, *fields, "--out", tmp_path / "out")
    assert code == 3
    assert "6 cells in 2 fields" in said
    assert f"error: {broken} " in warned
    *_, error = run(broken, "--out", tmp_path / "out")
    assert isinstance(error, ImageError)


def test_without_red_cells_the_scale_must_be_given(tmp_path: Path):
    glass = tmp_path / "glass.png"
    PIL.Image.new("RGB", (640, 480), (228, 225, 220)).save(glass)
    *_, error = run(glass, "--out", tmp_path / "out")
    assert isinstance(error, ScaleError)
    assert "--mpp" in str(error)
    code, said, _, _ = run(glass, "--out", tmp_path / "out", "--mpp", "0.1")
    assert (code, said.splitlines()[1].split()[:2]) == (0, ["glass.png", "0"])
    _, _, warned, error = run(glass, "--out", tmp_path / "out", "--mpp", "1.5")
    assert f"error: {glass} a red cell would be 5.0 pixels wide" in warned
    assert isinstance(error, ImageError)


def test_a_field_that_the_scale_does_not_fit_is_named_and_the_others_are_looked_at(fields: list[Path], tmp_path: Path):
    small = tmp_path / "small.png"
    PIL.Image.new("RGB", (60, 60), (228, 225, 220)).save(small)
    code, said, warned, _ = run(fields[0], small, fields[1], "--out", tmp_path / "out")
    assert code == 3
    assert "6 cells in 2 fields" in said
    assert f"error: {small} " in warned


def test_a_folder_of_fields_may_be_named(fields: list[Path], tmp_path: Path):
    code, said, _, _ = run(fields[0].parent.parent, "--out", tmp_path / "out")
    assert code == 0
    assert "6 cells in 2 fields; red cell" in said


def test_copies_never_lie_among_the_fields(fields: list[Path]):
    _, _, _, error = run(fields[0], "--out", fields[0].parent)
    assert isinstance(error, UsageError)
    assert "holds the fields themselves: name another folder" in str(error)
    assert [path.name for path in fields[0].parent.iterdir()] == ["field.png"]
