"""Outputs of labelled cells, and slides drawn on them."""

from pathlib import Path

import numpy as np
import outputs as bench
import pytest

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.inference.backend import Backend


def test_they_are_what_the_edge_says(cells: bench.Outputs, shipped: Bundle, backend: Backend, data_dir: Path) -> None:
    files = [data_dir / path.removeprefix("cells/") for path in cells.paths]
    said = list(Classifier(shipped, backend).predict(files))

    pool = bench.Pool(cells, shipped)
    rows = pool.slide(range(len(cells.paths)))

    assert [(row.label, row.status, row.reason) for row in rows] == [
        (cell.label, cell.status, "; ".join(cell.reasons)) for cell in said
    ]
    assert np.allclose([row.stain or 0 for row in rows], [cell.stain or 0 for cell in said])
    assert np.allclose([row.distance or 0 for row in rows], [cell.distance or 0 for cell in said], rtol=1e-4)


def test_the_cache_gives_the_same_without_a_model(
    cells: bench.Outputs, monkeypatch: pytest.MonkeyPatch, shipped: Bundle, data_dir: Path, cache: Path
) -> None:
    monkeypatch.delattr(bench, "Classifier")

    again = bench.outputs("cells", data_dir.parent, shipped, cache)

    assert again.paths == cells.paths
    assert (again.evidence.features == cells.evidence.features).all()
    assert (again.evidence.stains == cells.evidence.stains).all()


def test_a_slide_is_numbered_anew_and_may_hold_a_cell_twice(cells: bench.Outputs, shipped: Bundle) -> None:
    rows = bench.Pool(cells, shipped).slide([5, 5, 2])

    assert [row.seq for row in rows] == [1, 2, 3]
    assert [row.path for row in rows] == [cells.paths[5], cells.paths[5], cells.paths[2]]
    assert bench.joined([cells, cells.take([5])]).truth[-1] == cells.truth[5]


def test_a_slide_is_drawn_in_the_mix_asked_for(cells: bench.Outputs, shipped: Bundle) -> None:
    pool = bench.Pool(cells, shipped)

    drawn = pool.draw({"neutrophil": 0.75, "ig": 0.25}, 400, np.random.default_rng(0))

    assert set(pool.truth[drawn]) == {"neutrophil", "ig"}
    assert 250 < (pool.truth[drawn] == "neutrophil").sum() < 350
    with pytest.raises(ValueError, match="no cell of the class blast"):
        pool.draw({"blast": 1.0}, 5, np.random.default_rng(0))
