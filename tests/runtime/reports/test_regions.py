import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

import msgspec
import numpy as np
import PIL.Image
import pytest
from fakes import FakeBackend
from mosaic import mosaic
from msgspec import Meta, Struct

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError
from cartcls.runtime.fields.reading import FieldSearch
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.ledger.folder import existing_ledger, open_ledger
from cartcls.runtime.ledger.records import Cell, Correction
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.reports import regions
from cartcls.runtime.reports.regions import INDEX, Regions, export_regions, feature_collection
from cartcls.runtime.slides.batch import classify_slide

HOSTILE = b"sub/=\xff<b>.png"


class Classification(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, pattern=r"^[^:\n]+$")]
    color: Annotated[list[Annotated[int, Meta(ge=0, le=255)]], Meta(min_length=3, max_length=3)]


class Properties(Struct, forbid_unknown_fields=True):
    """What QuPath reads in `parseObject` of its `PathObjectTypeAdapter`."""

    objectType: Literal["annotation", "detection"]
    name: str
    measurements: dict[str, float]
    metadata: dict[str, str]
    classification: Classification | None = None


class Polygon(Struct, forbid_unknown_fields=True, tag="Polygon"):
    """RFC 7946, 3.1.6: rings of at least four positions."""

    coordinates: Annotated[list[Annotated[list[tuple[int, int]], Meta(min_length=4)]], Meta(min_length=1, max_length=1)]


class Feature(Struct, forbid_unknown_fields=True, tag="Feature"):
    id: UUID
    geometry: Polygon
    properties: Properties


class FeatureCollection(Struct, forbid_unknown_fields=True, tag="FeatureCollection"):
    features: list[Feature]


def strictly(text: str | bytes) -> list[Feature]:
    """The features of a file, by RFC 7946 and with the properties that QuPath reads."""
    found = msgspec.json.decode(text, type=FeatureCollection).features
    for feature in found:
        (ring,) = feature.geometry.coordinates
        assert ring[0] == ring[-1]
        assert sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(ring)) > 0
    assert len({feature.id for feature in found}) == len(found)
    return found


@pytest.fixture(scope="module")
def classified(slide: Path, labels: dict[str, str], tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    """Reports of a slide: fields of four cells and two, one without, one again, and one that cannot be read."""
    root = tmp_path_factory.mktemp("regions")
    folder = root / "slide"
    (folder / "sub").mkdir(parents=True)
    names = [name for name, label in labels.items() if label in ("lymphocyte", "neutrophil")][2:8]
    crops = [read_image(slide / name)[0] for name in names]
    for name, part in ((b"a.png", crops[:4]), (HOSTILE, crops[4:])):
        field = mosaic(part, 2, np.random.default_rng(0)).image
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            PIL.Image.fromarray(field).save(file, "PNG")
    PIL.Image.new("RGB", (800, 600), (240, 235, 240)).save(folder / "empty.png")
    shutil.copy(folder / "a.png", folder / "z-again.png")
    (folder / "z-junk.png").write_bytes(b"junk")
    with open_ledger(root / "out", bundle) as ledger:
        classify_slide(folder, root / "out", Classifier(bundle, FakeBackend(), fields=FieldSearch()), ledger)
    return root / "out"


@pytest.fixture
def out(classified: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(classified, tmp_path / "out"))


@pytest.fixture
def cells(out: Path) -> list[Cell]:
    """The slide's cells that lie in fields."""
    with existing_ledger(out) as (ledger, _):
        return [cell for slide in ledger.slides() for cell in slide.cells() if cell.box]


def changed(out: Path) -> Iterator[SlideLedger]:
    with existing_ledger(out) as (ledger, _):
        yield from ledger.slides()


def test_each_field_that_was_read_has_a_file_with_its_cells(out: Path, cells: list[Cell]):
    folder, made = export_regions(out, "slide")
    assert folder == out / "slide" / "regions"
    expected = {
        "a.png.geojson": 4,
        "empty.png.geojson": 0,
        "sub-=%FF%3Cb%3E.png.geojson": 2,
        "z-again.png.geojson": 4,
    }
    assert {field.file: field.cells for field in made.fields if field.file} == expected
    assert {path.name for path in folder.iterdir()} == {*expected, INDEX}
    found = {name: strictly((folder / name).read_bytes()) for name in expected}
    hostile = next(cell.path for cell in cells if "sub" in cell.path)
    for path, name in (("a.png", "a.png.geojson"), (hostile, "sub-=%FF%3Cb%3E.png.geojson")):
        own = [cell for cell in cells if cell.path == path]
        features = [feature for feature in found[name] if feature.properties.name != "smudge"]
        assert [feature.properties.name for feature in features] == [f"no. {cell.seq}" for cell in own]
        for feature, cell in zip(features, own, strict=True):
            (ring,) = feature.geometry.coordinates
            assert cell.box is not None
            x, y, w, h = cell.box
            assert (ring[0], ring[2]) == ((x, y), (x + w, y + h))
    assert found["empty.png.geojson"] == []


def test_what_could_not_be_read_is_listed_with_its_reason(out: Path):
    folder, made = export_regions(out, "slide")
    ((path, problem),) = [(field.path, field.problem) for field in made.fields if not field.file]
    assert path == "z-junk.png"
    assert problem.startswith("rejected: ")
    assert msgspec.json.decode((folder / INDEX).read_bytes(), type=Regions) == made


def test_a_cell_has_class_confidence_and_status(out: Path, bundle: Bundle):
    folder, _ = export_regions(out, "slide")
    first = strictly((folder / "a.png.geojson").read_bytes())[0].properties
    eosinophil = bundle.classes[1]
    assert first.objectType == "annotation"
    assert first.classification is not None
    assert first.classification.name == eosinophil.title
    assert "#" + bytes(first.classification.color).hex() == eosinophil.color
    assert first.measurements.keys() == {"confidence", *(f"p_{entry.name}" for entry in bundle.classes)}
    assert first.measurements["confidence"] == first.measurements["p_eosinophil"] > 0.5
    expected = {"seq": "1", "path": "a.png", "label": "eosinophil", "model_label": "eosinophil"}
    assert expected.items() <= first.metadata.items()
    assert first.metadata["ANNOTATION_DESCRIPTION"].startswith(first.metadata["status"])
    assert "corrected_by" not in first.metadata


@pytest.mark.parametrize(
    ("label", "shown", "counted", "status"),
    [
        ("monocyte", "monocyte", "monocyte", "reviewed"),
        ("ig", "immature granulocyte", "ig", "reviewed"),
        ("eosinophil", "eosinophil", "eosinophil", "reviewed"),
        ("other: blast: big*", "blast big", "other: blast: big*", "reviewed"),
        ("not a cell", "Ignore*", "not a cell", "reviewed"),
        ("unsure", "eosinophil", "eosinophil", "review"),
    ],
)
def test_a_persons_label_counts(out: Path, cells: list[Cell], label: str, shown: str, counted: str, status: str):
    before = cells[0]
    change = Correction(1, before.sha256 or "", "eosinophil", label, "Ada", "2026-01-01T00:00:00Z", before.box)
    for slide in changed(out):
        slide.correct([change], [change.applied_to(before)])
    folder, made = export_regions(out, "slide")
    found = strictly((folder / "a.png.geojson").read_bytes())[0].properties
    assert found.classification is not None
    assert found.classification.name == shown
    told = {"label": counted, "model_label": "eosinophil", "status": status, "corrected_by": "Ada"}
    assert told.items() <= found.metadata.items()
    assert ("a person was unsure" in found.metadata["ANNOTATION_DESCRIPTION"]) == (label == "unsure")
    assert made.fields[0].awaiting_review == (label == "unsure")


def test_duplicates_are_there_and_those_that_are_gone_are_not(out: Path, cells: list[Cell]):
    again = replace(cells[0], status="duplicate", reason="the same cell as no. 2", same_cell_as=2)
    for slide in changed(out):
        gone = [cells[1], *(cell for cell in cells if "sub" in cell.path)]
        slide.correct([], [again, *(replace(cell, status="gone") for cell in gone)])
    folder, made = export_regions(out, "slide")
    assert [field.path for field in made.fields] == ["a.png", "empty.png", "z-again.png", "z-junk.png"]
    assert (made.fields[0].cells, made.fields[0].duplicates) == (3, 1)
    features = [one.properties for one in strictly((folder / "a.png.geojson").read_bytes())]
    assert [one.name for one in features if one.name != "smudge"] == ["no. 1", "no. 3", "no. 4"]
    assert {"status": "duplicate", "same_cell_as": "2"}.items() <= features[0].metadata.items()
    assert features[0].classification is not None
    assert (made.fields[2].cells, made.fields[2].duplicates) == (4, 4)  # a copy of the file


def test_cells_without_a_box_or_a_label_and_smudges(cells: list[Cell], bundle: Bundle):
    bare = replace(cells[0], label=None, probabilities=(), status="duplicate", reason="")
    rows = [bare, replace(cells[1], x=None), replace(cells[2], status="gone")]
    found = strictly(json.dumps(feature_collection(rows, [(3, 4, 50, 60)], bundle, "r", "a.png")))
    assert [feature.properties.name for feature in found] == ["no. 1", "smudge"]
    assert (found[0].properties.classification, found[0].properties.measurements) == (None, {})
    assert found[0].properties.metadata["ANNOTATION_DESCRIPTION"] == "duplicate"
    assert found[1].properties.classification is not None
    assert found[1].properties.classification.name == "Ignore*"
    assert found[1].geometry.coordinates[0][2] == (53, 64)


def test_a_second_export_replaces_the_first_with_the_same_bytes(out: Path, tmp_path: Path):
    folder, _ = export_regions(out, "slide", tmp_path / "to")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "old.png.geojson").touch()
    assert export_regions(out, "slide", folder)[0] == tmp_path / "to"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_export_that_fails_leaves_the_first_one(out: Path, monkeypatch: pytest.MonkeyPatch):
    folder, _ = export_regions(out, "slide")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(regions, "_write_field", full)
    with pytest.raises(OutputError, match="regions cannot be written: No space left"):
        export_regions(out, "slide")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not [path for path in (out / "slide").iterdir() if path.name.startswith((".unfinished", ".old"))]


def test_a_folder_with_other_files_stays(out: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    export_regions(out, "slide", tmp_path / "mine")
    (tmp_path / "mine" / INDEX).unlink()
    with pytest.raises(OutputError, match="not an export of regions: name another folder"):
        export_regions(out, "slide", tmp_path / "mine")
    assert (tmp_path / "mine" / "a.png.geojson").exists()


def test_what_is_no_slide_of_fields_is_refused(out: Path, slide: Path, bundle: Bundle, tmp_path: Path):
    with open_ledger(out, bundle) as ledger:
        classify_slide(slide, out, Classifier(bundle, FakeBackend()), ledger)
        ledger.add_slide(b"/captures/third", "third")
    with pytest.raises(OutputError, match="has no slide 'other': give --slide one of those there: slide, slide-01, th"):
        export_regions(out, "other")
    with pytest.raises(OutputError, match=r"slide-01 was classified as crops of single cells.* --fields --fresh"):
        export_regions(out, "slide-01")
    with pytest.raises(OutputError, match="third has no rows yet"):
        export_regions(out, "third")
    assert not (out / "slide-01" / "regions").exists()
    with pytest.raises(OutputError, match="has no cartcls ledger"):
        export_regions(tmp_path / "nothing", "slide")


def test_no_two_fields_share_a_file():
    paths = [b"a.png", b"A.png", b"s/b.png", b"s-b.png", b"c\xff.png", b"c%FF.png", b"CON.png", b"n" * 400 + b".png"]
    names = regions._file_names(paths)
    assert names[:4] == ["a.png.geojson", "A.png-2.geojson", "s-b.png.geojson", "s-b.png-2.geojson"]
    assert names[4:7] == ["c%FF.png.geojson", "c%FF.png-2.geojson", "%43ON.png.geojson"]
    assert len({name.casefold() for name in names}) == len(paths)
    assert all(len(name) < 200 for name in names)
