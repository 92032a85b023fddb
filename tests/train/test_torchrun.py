"""Training by two processes, as on two machines, beside one process."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from cartcls.runtime.bundle.bundle import SHIPPED

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "support" / "torchrun_fit.py"
EPOCHS, FIT = 2, 320


def fit(notes: Path, many_cells: tuple[Path, Path], processes: int) -> Path:
    """Train with 32 cells at a step; the run folder."""
    notes.mkdir()
    data, split = many_cells
    run = [sys.executable]
    if processes > 1:
        run += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--"]
    options = ["--split", split, "--out", notes / "run", "--start", SHIPPED, "--sizes", f"120x121:{EPOCHS}"]
    options += ["--batch-size", 32 // processes, "--devices", processes]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*run, os.fspath(SCRIPT), os.fspath(notes), os.fspath(data), *map(str, options)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return notes / "run"


def cells_by_epoch(notes: Path, processes: int) -> list[Counter[int]]:
    """How often each cell of `fit` was taken in each epoch, by all processes."""
    epochs = [Counter[int]() for _ in range(EPOCHS)]
    for rank in range(processes):
        lines = [json.loads(line) for line in (notes / f"{rank}.jsonl").read_text().splitlines()]
        batches = [indices for size, indices in lines if size == FIT]
        assert len(batches) % EPOCHS == 0
        each = len(batches) // EPOCHS
        for epoch in range(EPOCHS):
            epochs[epoch].update(index for batch in batches[epoch * each : (epoch + 1) * each] for index in batch)
    return epochs


def test_two_processes_train_on_the_cells_of_one_and_find_the_same(tmp_path: Path, many_cells: tuple[Path, Path]):
    one, two = fit(tmp_path / "one", many_cells, 1), fit(tmp_path / "two", many_cells, 2)
    cells = cells_by_epoch(tmp_path / "one", 1)
    assert cells_by_epoch(tmp_path / "two", 2) == cells
    assert sum(cells[0].values()) == FIT
    figures = [json.loads((run / "metrics.json").read_text()) for run in (one, two)]
    assert [figure["count"] for figure in figures] == [160, 160]
    assert abs(figures[0]["correct"] - figures[1]["correct"]) <= 2
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    steps = [torch.load(run / "last.ckpt", weights_only=True)["global_step"] for run in (one, two)]
    assert steps[0] == steps[1] > 0
    rows = [(run / "history.csv").read_text().splitlines() for run in (one, two)]
    assert [len(lines) for lines in rows] == [EPOCHS + 1] * 2  # by one process alone
