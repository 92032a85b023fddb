import sys
from typing import Any

import numpy as np
import onnxruntime
import pytest

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError, NotInstalledError
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference import onnxruntime_backend
from cartcls.runtime.inference.onnxruntime_backend import PROVIDER, CudaBackend


class PretendedRuntime:
    """ONNX Runtime on the CPU that says it were on the GPU."""

    SessionOptions = onnxruntime.SessionOptions
    given: tuple[str, ...] = (PROVIDER,)

    def __init__(self, available: tuple[str, ...] = (PROVIDER,), given: tuple[str, ...] = (PROVIDER,)):
        self.available, self.given = available, given

    def get_available_providers(self) -> list[str]:
        return list(self.available)

    def preload_dlls(self) -> None:
        pass

    def InferenceSession(self, model: bytes, options: Any, providers: list[str], enable_fallback: int) -> Any:
        assert (providers, enable_fallback) == ([PROVIDER], 0)
        given = self.given

        class Session(onnxruntime.InferenceSession):
            def get_providers(self) -> list[str]:
                return list(given)

        return Session(model, options, providers=["CPUExecutionProvider"])


def test_it_gives_what_the_graph_gives(bundle: Bundle, crops: Image, monkeypatch: pytest.MonkeyPatch, backend):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(onnxruntime_backend, "_onnxruntime", PretendedRuntime)
    cuda = CudaBackend(bundle)
    outputs, expected = cuda.infer(crops[:2]), backend.infer(crops[:2])
    assert np.abs(outputs.logits - expected.logits).max() < 0.2
    assert outputs.cams is not None
    assert outputs.cams.shape == expected.cams.shape
    assert outputs.features.shape == (2, 512)
    with pytest.raises(BackendError, match="ONNX Runtime failed"):
        cuda.infer(crops[:2, :100])
    cuda.close()


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
