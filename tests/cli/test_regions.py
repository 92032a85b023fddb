import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from fakes import FakeBackend
from mosaic import mosaic
from typer.testing import CliRunner

from cartcls.cli import app
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError
from cartcls.runtime.fields.reading import FieldSearch
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.slides.batch import classify_slide


@pytest.fixture(scope="module")
def out(slide: Path, labels: dict[str, str], tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    """Reports of a slide of a field of two cells, and a file that cannot be read."""
    root = tmp_path_factory.mktemp("regions")
    (root / "fields").mkdir()
    names = [name for name, label in labels.items() if label == "neutrophil"][:2]
    field = mosaic([read_image(slide / name)[0] for name in names], 2, np.random.default_rng(0)).image
    PIL.Image.fromarray(field).save(root / "fields" / "a.png")
    (root / "fields" / "junk.png").write_bytes(b"junk")
    with open_ledger(root / "out", bundle) as ledger:
        classifier = Classifier(bundle, FakeBackend(), fields=FieldSearch())
        classify_slide(root / "fields", root / "out", classifier, ledger)
    return root / "out"


def run(*arguments: object) -> tuple[int, str, str, BaseException | None]:
    done = CliRunner().invoke(app, ["regions", *map(str, arguments)], env={"COLUMNS": "120"})
    return done.exit_code, done.stdout, done.stderr, done.exception


def test_a_table_of_files_and_what_has_none(out: Path):
    code, said, warned, _ = run(out, "--slide", "fields")
    assert code == 0
    header, row, total = said.splitlines()
    assert header.split() == ["file", "cells", "await", "review", "duplicates", "smudges"]
    assert row.split()[:2] == ["a.png.geojson", "2"]
    assert total == f"2 cells in 1 file in {out / 'fields' / 'regions'}"
    assert "no file for junk.png: rejected: " in warned


def test_the_same_as_json_in_another_folder(out: Path, tmp_path: Path):
    code, said, _, _ = run(out, "--slide", "fields", "--to", tmp_path / "to", "--json")
    assert code == 0
    found = json.loads(said)
    assert found["folder"] == str(tmp_path / "to")
    assert [(field["file"], field["cells"]) for field in found["fields"]] == [("a.png.geojson", 2), ("", 0)]
    assert (tmp_path / "to" / "a.png.geojson").is_file()


def test_a_slide_that_is_not_there(out: Path):
    code, said, _, problem = run(out, "--slide", "other")
    assert (code, said) == (1, "")
    assert isinstance(problem, OutputError)
    assert "one of those there: fields" in str(problem)
