import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import adjusting
from msgspec import structs

from cartcls.calibration.adapt import adapt
from cartcls.calibration.adapted_head import HOME_CELLS, HomeCells, read_home_cells
from cartcls.calibration.cross_validation import BY_GROUP, LabelledCells
from cartcls.calibration.limits import gaussians
from cartcls.calibration.own_cells import OwnCells
from cartcls.calibration.views import Views
from cartcls.export.adapted import LEARNING_CURVE, OUT_OF_FOLD, adapted_classes, write_adapted
from cartcls.export.head import read_head
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.images.adjust import Adjustment
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.reading import read_cell
from cartcls.runtime.inference.parity import read_reference

DIMENSIONS, SLIDES = 3968, 6
NAMES = ["große Zelle", "ig"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, slide: Path) -> OwnCells:
    """Sixty cells of two classes, of six slides, with made-up features."""
    directory, paths = tmp_path_factory.mktemp("own"), []
    files = sorted(slide.glob("*.jpg"))
    for place in range(60):
        path = directory / NAMES[place % 2] / f"{place:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(files[place % len(files)], path)
        paths.append(path.relative_to(directory).as_posix())
    labels = np.arange(60) % 2
    noise = np.random.default_rng(0).normal(size=(60, DIMENSIONS)) * 0.2
    features = (0.5 + noise + 0.1 * labels[:, None]).astype(np.float32)
    quality = read_cell(files[0], 64, 64).quality
    assert quality is not None
    groups = [f"slide-{place % SLIDES}" for place in range(60)]
    cells = LabelledCells(paths, labels, NAMES, groups)
    return OwnCells(directory, cells, Views(features[:, None], [quality] * 60, features))


class Ran:
    name, device, precision, batch_size = "fake", "none", "f32", 4
    batches_at_once = 1


def test_a_bundle_has_its_head_its_figures_and_its_calibration(bundle: Bundle, own: OwnCells, tmp_path: Path):
    usual = gaussians(np.random.default_rng(1).normal(size=(400, DIMENSIONS)) * 0.2 + 0.5, np.arange(400) % 8)
    none = HomeCells(np.zeros((0, DIMENSIONS)), np.zeros(0, np.intp), ["neutrophil"])
    adapted = adapt(own, usual, none, 0.1)
    made = write_adapted(bundle, adapted, own, b"curve", Ran(), tmp_path / "ours")  # type: ignore[arg-type]
    assert [entry.name for entry in made.classes] == NAMES
    assert np.allclose(read_head(made.model).weight, adapted.head.weight, atol=1e-2)
    ((unit, metrics),) = made.manifest.metrics.items()
    assert (unit, metrics.count) == (BY_GROUP, 60)
    assert metrics.correct > 55
    assert made.manifest.calibration is not None
    assert made.manifest.calibration.promise.word == "estimated from 60 cells of 6 slides, no promise"
    assert made.manifest.unknown_cells.startswith("This model tells only große Zelle and immature granulocyte apart")
    assert {OUT_OF_FOLD, LEARNING_CURVE, HOME_CELLS} <= made.manifest.files.keys()
    rows = (made.directory / OUT_OF_FOLD).read_text(encoding="utf-8").splitlines()
    assert rows[0] == "seed,fold,path,group,class,predicted,p_große Zelle,p_ig"
    assert len(rows) == 1 + 3 * 60
    kept = read_home_cells(made)
    assert np.bincount(kept.labels).tolist() == [30, 30]
    assert kept.measures is not None and kept.measures.diameters.shape == (60,)
    card = (made.directory / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "# then the head: cartcls adapt: 60 labelled cells of 2 classes (cross-validated, by group)" in card
    assert "| cross-validated, by group |" in card
    assert "`select`" not in card.partition("## What a confidence")[2].partition("Parity")[0]


def test_an_adapted_bundle_keeps_the_adjustment_and_says_so(bundle: Bundle, own: OwnCells, tmp_path: Path):
    usual = gaussians(np.random.default_rng(1).normal(size=(400, DIMENSIONS)) * 0.2 + 0.5, np.arange(400) % 8)
    none = HomeCells(np.zeros((0, DIMENSIONS)), np.zeros(0, np.intp), ["neutrophil"])
    start = adjusting(bundle, Adjustment(0.7, ((0.9, 0.1, 0.0), (0.1, 0.8, 0.0), (0.0, 0.0, 1.2))))
    made = write_adapted(start, adapt(own, usual, none, 0.1), own, b"curve", Ran(), tmp_path / "ours")  # type: ignore[arg-type]
    assert load_bundle(made.directory).adjustment == start.adjustment
    said = "pictures shrunk to 70%; colours mapped to home's"
    assert made.manifest.source.head.endswith(said)
    assert f"For the model, not for the checks: **{said}**" in (made.directory / "MODEL_CARD.md").read_text("utf-8")
    first = read_image(own.directory / own.cells.paths[0])[0]
    proof = read_reference(made).images
    assert any((image == start.graph_input(first)).all() for image in proof)
    assert not any((image == bundle.graph_input(first)).all() for image in proof)


def test_classes_of_the_bundle_stay_as_they_are_there(bundle: Bundle):
    changed = [structs.replace(entry, color="#000000") for entry in bundle.classes]
    other = replace(bundle, manifest=structs.replace(bundle.manifest, classes=tuple(changed)))
    new, known = adapted_classes(["ours", "ig"], other)
    assert (known.color, known.title) == ("#000000", "immature granulocyte")
    assert (new.kind, new.always_review) == ("other", False)
