import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from fake_gpu import FakeGpu, installed
from small_graph import SIZE, expected, small_bundle

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError, NotInstalledError, OutOfMemoryError, ParityError
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference import onnxruntime_backend
from cartcls.runtime.inference.backend import BATCHES, MAX_BATCH, OUTPUTS
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.inference.onnxruntime_backend import PROVIDER, CudaBackend, open_onnxruntime


class PretendedRuntime:
    """ONNX Runtime on the CPU that says it were on the GPU.

    Attributes:
        sizes: Sizes of the batches that it was given.
        room: Largest batch for which it has memory.
        sign: Of its answers; wrong ones with -1.
    """

    SessionOptions = onnxruntime.SessionOptions
    __version__ = "1.0"

    def __init__(self, available: tuple[str, ...] = (PROVIDER,), given: tuple[str, ...] = (PROVIDER,)):
        self.available, self.given = available, given
        self.sizes: list[int] = []
        self.options: dict[str, str] = {}
        self.room, self.sign = MAX_BATCH, 1

    def get_available_providers(self) -> list[str]:
        return list(self.available)

    def preload_dlls(self) -> None:
        pass

    def InferenceSession(self, model: bytes, options: Any, providers: list[Any], enable_fallback: int) -> Any:
        ((provider, self.options),) = providers
        assert (provider, enable_fallback) == (PROVIDER, 0)
        pretended = self

        class Session(onnxruntime.InferenceSession):
            def get_providers(self) -> list[str]:
                return list(pretended.given)

            def run(self, names, inputs):  # type: ignore[no-untyped-def]
                count = len(inputs["image"])
                pretended.sizes.append(count)
                if count > pretended.room:
                    raise RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer")
                return [pretended.sign * np.asarray(output) for output in super().run(names, inputs)]

        return Session(model, options, providers=["CPUExecutionProvider"])


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> PretendedRuntime:
    pretended = PretendedRuntime()
    monkeypatch.setattr(onnxruntime_backend, "_onnxruntime", lambda: pretended)
    return pretended


def test_it_gives_what_the_graph_gives(bundle: Bundle, crops: Image, runtime: PretendedRuntime, backend):  # type: ignore[no-untyped-def]
    cuda = CudaBackend(bundle)
    outputs, given = cuda.infer(crops[:2]), backend.infer(crops[:2])
    assert np.abs(outputs.logits - given.logits).max() < 0.2
    assert outputs.cams is not None
    assert outputs.cams.shape == given.cams.shape
    assert outputs.features.shape == (2, 3968)
    with pytest.raises(BackendError, match="ONNX Runtime failed"):
        cuda.infer(crops[:2, :100])
    cuda.close()


def test_boxes_and_attention_are_passed_on(bundle: Bundle, tmp_path: Path, runtime: PretendedRuntime):
    small = small_bundle(bundle, tmp_path / "bundle", further=True)
    images = np.random.default_rng(3).integers(0, 256, (MAX_BATCH + 1, SIZE, SIZE, 3), np.uint8)
    cuda, right = CudaBackend(small), expected(small.model, images)
    found = cuda.infer(images)
    cuda.close()
    for name in OUTPUTS:
        np.testing.assert_allclose(getattr(found, name), right[name], atol=1e-3)


def test_float32_is_float32_and_no_algorithm_is_searched_for(small: Bundle, runtime: PretendedRuntime):
    CudaBackend(small).close()
    assert runtime.options == {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


def test_every_size_of_batch_is_padded_to_one_that_was_proven(small: Bundle, runtime: PretendedRuntime):
    images = np.random.default_rng(0).integers(0, 256, (2 * MAX_BATCH + 1, SIZE, SIZE, 3), np.uint8)
    right, cuda = expected(small.model, images)["logits"], CudaBackend(small)
    for count in range(1, len(images) + 1):
        assert np.allclose(cuda.infer(images[:count]).logits, right[:count], atol=1e-3)
    assert set(runtime.sizes) == set(BATCHES)
    runtime.room = 8
    assert np.allclose(cuda.infer(images).logits, right, atol=1e-3)
    assert cuda.batch_size == 8
    runtime.room = 0
    with pytest.raises(OutOfMemoryError, match="Failed to allocate"):
        cuda.infer(images)


def test_its_answers_are_checked_at_the_first_opening(small: Bundle, runtime: PretendedRuntime):
    said: list[str] = []
    with installed(FakeGpu(), "cuda-bindings"):
        for _ in range(2):
            opened = open_onnxruntime(small, said.append)
            assert opened.device == "A GPU"
            opened.close()
    assert said == ["checking the answers of ONNX Runtime 1.0 with CUDA on A GPU"]
    assert set(runtime.sizes) == set(BATCHES)


def test_its_answers_are_checked_each_time_where_nothing_tells_which_gpu_it_is(
    small: Bundle, runtime: PretendedRuntime, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(onnxruntime_backend, "_gpu", lambda: None)
    said: list[str] = []
    for _ in range(2):
        open_onnxruntime(small, said.append).close()
    assert said == 2 * ["checking the answers of ONNX Runtime 1.0 with CUDA on NVIDIA GPU 0"]
    runtime.sign = -1
    with pytest.raises(ParityError):
        open_onnxruntime(small, said.append)


def test_other_answers_are_refused_and_auto_goes_on(
    small: Bundle, runtime: PretendedRuntime, monkeypatch: pytest.MonkeyPatch
):
    runtime.sign = -1
    entries = {"cuda": (lambda: True, open_onnxruntime)}
    monkeypatch.setattr("cartcls.runtime.inference.choose._GPU_BACKENDS", entries)
    monkeypatch.setattr("cartcls.runtime.inference.choose.open_openvino", lambda bundle: "the CPU")
    monkeypatch.setattr("cartcls.runtime.inference.choose.why_no_gpu", lambda: "")
    said: list[str] = []
    with installed(FakeGpu(), "cuda-bindings"):
        with pytest.raises(ParityError, match="to check it again, remove"):
            open_backend(small, "cuda")
        ran = len(runtime.sizes)
        assert open_backend(small, "auto", said.append) == "the CPU"
    assert len(runtime.sizes) == ran
    assert said[-1].startswith("using the CPU (openvino); cuda: ")


def test_it_never_runs_on_the_cpu_in_silence(bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    fallen_back = PretendedRuntime(given=("CPUExecutionProvider",))
    monkeypatch.setattr(onnxruntime_backend, "_onnxruntime", lambda: fallen_back)
    with pytest.raises(BackendError, match="cannot use CUDA here"):
        CudaBackend(bundle)


def test_an_onnxruntime_without_cuda_is_told(bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnxruntime_backend, "_onnxruntime", lambda: PretendedRuntime(("CPUExecutionProvider",)))
    with pytest.raises(BackendError, match=r"has no CUDA: .* '\.\[cuda\]'"):
        CudaBackend(bundle)


def test_a_missing_onnxruntime_is_told(bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NotInstalledError, match="is not installed"):
        CudaBackend(bundle)
