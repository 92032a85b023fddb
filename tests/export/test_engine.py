import dataclasses
from pathlib import Path

import pytest
from fake_gpu import FakeGpu, installed
from fake_tensorrt import FakeTensorRT
from msgspec import structs
from small_graph import small_bundle

from cartcls.export import engine as exports
from cartcls.export.engine import export_engine
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.bundle.manifest import Precisions
from cartcls.runtime.errors import BackendError, BundleError, NoGpuError, ParityError
from cartcls.runtime.inference.backend import no_progress
from cartcls.runtime.inference.openvino_backend import OpenVINOBackend
from cartcls.runtime.inference.parity import answer_limit, compare, read_reference
from cartcls.runtime.inference.tensorrt_engine import load_tensorrt
from cartcls.runtime.inference.tensorrt_open import open_tensorrt

pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")


@pytest.fixture(autouse=True)
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where engines go."""
    monkeypatch.setattr(exports, "engine_directory", lambda bundle: tmp_path)
    return tmp_path


@pytest.mark.parametrize(("precision", "runner"), [("fp16", "float16 rounding emulated"), ("fp32", "ONNX Runtime")])
def test_the_parity_of_an_engine_for_another_gpu_is_emulated(bundle: Bundle, engines: Path, precision, runner: str):  # type: ignore[no-untyped-def]
    made = export_engine(bundle, precision, "sm86", no_progress)
    assert made.check.passed
    assert made.check.runner.startswith(runner)
    assert made.check.runner.endswith("not the engine itself")
    assert made.check.count == 2 * len(bundle.classes)
    assert (made.half_share, made.engine.half_share > 0.7) == (None, precision == "fp16")
    assert made.engine.file == engines / f"tensorrt_rtx-{precision}-sm86.engine"
    assert made.engine.file.exists()


def test_an_engine_for_this_gpu_is_proven_on_it_and_takes_back_a_refusal(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mine, trt = small_bundle(bundle, tmp_path / "bundle"), FakeTensorRT("10.3.0", FakeGpu())
    with installed(trt.gpu, "pycuda", trt):
        trt.sign = -1
        with pytest.raises(ParityError, match="other answers than the model and is not kept"):
            open_tensorrt(mine, lambda line: None)
        with pytest.raises(ParityError, match="other answers than the model and is not kept"):
            export_engine(mine, "fp16", None, no_progress)
        trt.sign = 1
        made = export_engine(mine, "fp16", None, no_progress)
        assert (made.check.passed, made.half_share) == (True, pytest.approx(2 / 3))
        assert made.engine.file.exists()
        ran = len(trt.shapes)
        open_tensorrt(mine, lambda line: None).close()
        assert (trt.builds, len(trt.shapes)) == (3, ran)
    assert trt.gpu.is_free


def test_the_shipped_bundle_carries_cells_to_check_its_parity(bundle: Bundle):
    reference = read_reference(bundle)
    assert len(reference.labels) == 2 * len(bundle.classes)
    backend = OpenVINOBackend(bundle.model, "f32")
    assert compare("half", "OpenVINO", backend.infer, reference, answer_limit(bundle)).passed
    backend.close()


def test_a_bundle_that_carries_no_cells_gets_no_engine(bundle: Bundle, engines: Path):
    files = {name: digest for name, digest in bundle.manifest.files.items() if name != "proof.npz"}
    without = dataclasses.replace(bundle, manifest=structs.replace(bundle.manifest, files=files))
    with pytest.raises(BundleError, match=r"has no proof\.npz"):
        export_engine(without, "fp16", "sm86", no_progress)
    assert not list(engines.iterdir())


def test_a_graph_that_gives_other_answers_gets_no_engine(
    bundle: Bundle, engines: Path, monkeypatch: pytest.MonkeyPatch
):
    reference = read_reference(bundle)
    monkeypatch.setattr(
        exports, "read_reference", lambda bundle: dataclasses.replace(reference, logits=reference.logits[:, ::-1])
    )
    with pytest.raises(ParityError, match="no engine is built"):
        export_engine(bundle, "fp16", "sm86", no_progress)
    assert not list(engines.iterdir())


def test_what_cannot_be_built_is_a_clear_error(bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(BackendError, match="does not build for sm50"):
        export_engine(bundle, "fp16", "sm50", no_progress)
    manifest = structs.replace(bundle.manifest, precision=Precisions("float32", "f32"))
    with pytest.raises(BundleError, match="is float32: export its checkpoint with --fp16"):
        export_engine(dataclasses.replace(bundle, manifest=manifest), "fp16", "sm86", no_progress)

    def none() -> None:
        raise NoGpuError("CUDA cannot be used")

    monkeypatch.setattr(exports, "open_cuda", none)
    with pytest.raises(NoGpuError):
        export_engine(bundle, "fp16", None, no_progress)
    assert load_tensorrt(ahead_of_time=True).__name__ == "tensorrt_rtx"
