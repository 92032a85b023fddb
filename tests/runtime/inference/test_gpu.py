"""What needs an NVIDIA GPU: `make test-gpu` on a machine that has one."""

from pathlib import Path

import numpy as np
import pytest

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference import choose as backends
from cartcls.runtime.inference import tensorrt_backend
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.inference.cuda import CudaBindings, PyCuda, open_cuda
from cartcls.runtime.inference.openvino_backend import OpenVINOBackend
from cartcls.runtime.inference.parity import answer_limit, compare, read_reference

pytestmark = pytest.mark.gpu


def _skip_unless_installed(name: str) -> None:
    installed, _ = backends._GPU_BACKENDS[name]
    if not installed():
        pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("kind", [CudaBindings, PyCuda])
def test_bytes_come_back_from_the_device(kind: type[CudaBindings | PyCuda]):
    if kind is PyCuda:
        pytest.importorskip("pycuda.driver", reason="pycuda is not installed")
    cuda = kind()
    sent, back = cuda.pinned(1000), cuda.pinned(1000)
    sent[:] = np.arange(1000) % 251
    address = cuda.allocate(1000)
    cuda.copy_in(address, sent)
    cuda.copy_out(back, address)
    cuda.wait(cuda.record())
    assert np.array_equal(sent, back)
    cuda.free(address)
    cuda.unpin(sent)
    cuda.unpin(back)
    cuda.close()


def test_more_memory_than_there_is_is_a_clear_error():
    cuda = open_cuda()
    with pytest.raises(BackendError, match="memory"):
        cuda.allocate(1 << 50)
    cuda.close()


@pytest.mark.parametrize("name", ["tensorrt", "cuda"])
def test_the_gpu_gives_the_answers_of_the_model(bundle: Bundle, crops: Image, name: str):
    _skip_unless_installed(name)
    backend = open_backend(bundle, name, print)
    check = compare("half", name, backend.infer, read_reference(bundle), answer_limit(bundle))
    assert check.passed
    many = np.concatenate([crops] * 5)  # more than both sets of buffers hold
    expected = OpenVINOBackend(bundle.model, "f32").infer(crops).logits
    assert np.abs(backend.infer(many).logits - np.concatenate([expected] * 5)).max() < 0.1
    backend.close()


def test_an_engine_is_built_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    _skip_unless_installed("tensorrt")
    monkeypatch.setattr(tensorrt_backend, "engine_directory", lambda bundle: tmp_path)
    said: list[str] = []
    for _ in range(2):
        open_backend(bundle, "tensorrt", said.append).close()
    assert len(said) == 1
