"""`make gpu` in small, with the CPU in the GPU's place."""

import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cuda_checks
import fitting
import gpu_page
import numpy as np
import pack
import pytest
import torch
import weights
from place import DEVICE, ROOT, Place
from prepare import prepare
from run import STEPS, Step, run
from step import MODULES

from cartcls.calibration.split import read_split
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.errors import DataError
from cartcls.runtime.inference.cuda import CudaBindings, Gpu
from cartcls.runtime.inference.engine_store import build_record_for
from cartcls.runtime.inference.parity import read_reference
from cartcls.runtime.inference.tensorrt_backend import TensorRTBackend
from cartcls.runtime.inference.tensorrt_engine import build_engine
from cartcls.train.checkpoint import load_checkpoint

GPU_DIR = ROOT / "benchmarks" / "gpu"
NOTES = """
import json, os, sys, time
open(sys.argv[2], "a").write(json.dumps(["seconds", "1 | 2"]) + "\\n")
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, "cpu", time.monotonic() + 600)


@pytest.fixture
def cuda_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`cuda.bindings.runtime` of a rehearsal, also in processes that are spawned."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "cuda"}
    monkeypatch.syspath_prepend(GPU_DIR / "rehearsal")
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "cuda"]:
        del sys.modules[name]
    sys.modules.update(before)


def fake(name: str, code: str, seconds: float = 60, after: str = "") -> Step:
    return Step(name, f"the step {name}", seconds, after, [sys.executable, "-c", NOTES + code])


def test_one_step_ends_no_other_and_a_second_run_does_the_rest(tmp_path: Path):
    steps = [
        fake("machine", "print('here')"),
        fake("crash", "os.abort()"),
        fake("wrong", "raise ValueError('no such kernel')"),
        fake("hang", "time.sleep(600)", seconds=2),
        fake("missing", "print('no TensorRT'); sys.exit(75)"),
    ]
    out, env = tmp_path / "out", {DEVICE: "cuda"}
    results = {result["step"]: result for result in run(steps, tmp_path, out, env, time.monotonic() + 600)}
    assert [result["state"] for result in results.values()] == ["passed", "failed", "failed", "cut off", "skipped"]
    assert results["crash"]["reason"] == "ended by SIGABRT"
    assert results["wrong"]["reason"] == "ValueError: no such kernel"
    assert results["hang"]["figures"] == [("seconds", "1 | 2")]
    assert {file.name for file in out.iterdir()} == {"results.jsonl", "gpu.md", "logs.tar.gz"}

    text = (out / "gpu.md").read_text()
    assert "`missing`: skipped in" in text
    assert "| seconds | 1 \\| 2 |" in text
    run(steps, tmp_path, out, env, time.monotonic() + 600)
    ran = [json.loads(line)["step"] for line in (out / "results.jsonl").read_text().splitlines()]
    assert ran == ["machine", "crash", "wrong", "hang", "missing", "hang", "missing"]


def test_nothing_begins_that_the_time_does_not_allow_and_what_others_use_is_made_again(tmp_path: Path):
    steps = [fake("fit", "sys.exit(75)"), fake("weights", "", after="fit"), fake("other", "")]
    for _ in range(2):
        run(steps, tmp_path, tmp_path / "out", {}, time.monotonic() + 600)
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == ["fit", "weights", "other", "fit", "weights"]
    assert run(steps, tmp_path, tmp_path / "late", {}, time.monotonic() + 5)[0]["step"] == "weights"


def test_without_a_gpu_nothing_else_is_tried(tmp_path: Path):
    steps = [fake("machine", "sys.exit(1)"), fake("other", "")]
    results = run(steps, tmp_path, tmp_path, {}, time.monotonic() + 600)
    assert [result["step"] for result in results] == ["machine"]
    steps[0] = fake("machine", "")
    assert [result["state"] for result in run(steps, tmp_path, tmp_path, {}, time.monotonic() + 600)] == ["passed"] * 2


def test_every_step_has_its_function_and_its_row():
    assert [step.name for step in STEPS] == sorted(MODULES, key=[step.name for step in STEPS].index)
    for name, module in MODULES.items():
        assert f"def step_{name}(" in (GPU_DIR / f"{module}.py").read_text()
    assert {*gpu_page.ON_A_GPU, "machine", "weights"} == set(MODULES)


def test_the_page_says_what_never_ran():
    shown = (ROOT / "docs" / "results" / "gpu.md").read_text(encoding="utf-8")
    if gpu_page.NONE_YET in shown:
        assert shown == gpu_page.page([])


def test_a_rehearsal_is_no_run_on_a_gpu(tmp_path: Path):
    results = run([fake("pytest", "")], tmp_path, tmp_path, {DEVICE: "cpu"}, time.monotonic() + 600)
    assert "| `make test-gpu` | GPU | **never**; rehearsed: passed |" in gpu_page.page(results)


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path):
    file = tmp_path / "results.jsonl"
    file.write_text('{"step": "fit", "state": "passed"}\n{"step": "fit", "sta')
    assert gpu_page.read_results(file)["fit"]["state"] == "passed"


def test_cuda_checks(place: Place, cuda_on_the_cpu: None):
    cuda_checks.step_cuda_bindings(place)
    assert not place.failed
    assert dict(place.found)["in a spawned process"].endswith("all equal")


def test_pytorch_in_tensorrts_place_gives_the_models_answers(
    bundle: Bundle, tmp_path: Path, cuda_on_the_cpu: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(DEVICE, "cpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from cartcls.export import graph

    monkeypatch.setattr(graph, "normalize", graph.normalize)  # which the stand-in replaces
    trt = stand_in()
    record = build_record_for(trt, bundle, "fp16", Gpu("CPU in a GPU's place", "sm00", "0", 1 << 30))
    engine = build_engine(trt, bundle.model, record, (bundle.height, bundle.width), tmp_path)
    reference = read_reference(bundle)
    backend = TensorRTBackend(trt, CudaBindings(), engine, bundle)
    outputs = backend.infer(reference.images[:1])
    backend.close()
    assert np.abs(outputs.logits - reference.logits[:1]).max() < 0.1
    assert outputs.cams is not None
    assert np.abs(outputs.cams.sum((2, 3)) + reference.bias - outputs.logits).max() < 1e-3


def test_crops_go_there_in_parts_and_weights_come_back_in_parts(
    place: Place, data_dir: Path, split_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    parts = pack.pack(data_dir, split_file, tmp_path / "work" / "parts", part_bytes=43_000_000)
    assert len(parts) > 1
    assert all(part.stat().st_size <= 43_000_000 for part in parts)
    with pytest.raises(DataError, match=r"model\.onnx has .* bytes: more than a part"):
        pack.pack(data_dir, split_file, tmp_path / "small", part_bytes=10_000_000)

    assert prepare(ROOT, tmp_path / "work", place.state) == []
    brought = load_bundle(place.state / "site" / "cartcls" / "runtime" / "bundles" / "rcmnet-pbc8")
    assert brought.model == load_bundle().model

    monkeypatch.setattr(sys, "argv", sys.argv)
    fitting.step_fit(place)
    assert "of 8 (split by image)" in dict(place.found)["right on select"]
    run_dir = tmp_path / "joined"
    weights.split_weights(place.run, tmp_path / "out", part_bytes=6_000_000)
    checkpoint = weights.join_weights(tmp_path / "out", run_dir)
    joined, trained = load_checkpoint(checkpoint), load_checkpoint(place.run / "best.ckpt")
    for name, value in trained.model.state_dict().items():
        assert torch.allclose(joined.model.state_dict()[name], value, rtol=1e-3, atol=1e-7), name
    assert joined.provenance == trained.provenance
    assert read_split(run_dir / "split.csv").sha256 == joined.provenance.split_sha256  # which `cartcls export` asks

    next((tmp_path / "out").glob("weights-2-*.part")).unlink()
    with pytest.raises(DataError, match="parts of weights: bring the others"):
        weights.join_weights(tmp_path / "out", tmp_path / "again")


def stand_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tensorrt", GPU_DIR / "stand_in" / "tensorrt.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own
