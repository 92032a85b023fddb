"""What needs an NVIDIA GPU: `make test-gpu` on a machine that has one."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError, NoGpuError
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference import choose as backends
from cartcls.runtime.inference.backend import Backend
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.inference.cuda import CudaBindings, PyCuda, open_cuda
from cartcls.runtime.inference.cuda_protocol import check_copies
from cartcls.runtime.inference.openvino_backend import OpenVINOBackend
from cartcls.runtime.inference.proof import prove

pytestmark = pytest.mark.gpu


def _opened(bundle: Bundle, name: str, notify: Callable[[str], None] = print) -> Backend:
    """The backend, which is skipped where it is not installed, or does not know this GPU."""
    installed, _ = backends._GPU_BACKENDS[name]
    if not installed():
        pytest.skip(f"{name} is not installed")
    open_cuda().close()  # an error where there is none
    try:
        return open_backend(bundle, name, notify)
    except NoGpuError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", [CudaBindings, PyCuda])
def test_bytes_come_back_from_the_device(kind: type[CudaBindings | PyCuda]):
    if kind is PyCuda:
        pytest.importorskip("pycuda.driver", reason="pycuda is not installed")
    cuda = kind()
    check_copies(cuda)
    with ThreadPoolExecutor(1) as pool:  # where the commands infer
        pool.submit(check_copies, cuda).result()
    cuda.close()


def test_more_memory_than_there_is_is_a_clear_error():
    cuda = open_cuda()
    with pytest.raises(BackendError, match="memory"):
        cuda.allocate(1 << 50)
    cuda.close()


@pytest.mark.parametrize("name", ["tensorrt", "cuda"])
def test_the_gpu_gives_the_answers_of_the_model(bundle: Bundle, crops: Image, name: str):
    backend = _opened(bundle, name)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(prove, backend.infer, bundle, "fp16", name).result().passed
    many = np.concatenate([crops] * 5)  # more than both sets of buffers hold
    expected = OpenVINOBackend(bundle.model, "f32").infer(crops).logits
    assert np.abs(backend.infer(many).logits - np.concatenate([expected] * 5)).max() < 0.1
    backend.close()


def test_an_engine_is_built_once(bundle: Bundle, tmp_path: Path):
    mine = replace(bundle, directory=Path(shutil.copytree(bundle.directory, tmp_path / "bundle")))
    shutil.rmtree(mine.directory / "engines", ignore_errors=True)
    said: list[str] = []
    for _ in range(2):
        _opened(mine, "tensorrt", said.append).close()
    assert len(said) == 1


def test_auto_opens_something_and_says_what_it_did_not_take(bundle: Bundle):
    pytest.importorskip("openvino", reason="openvino is not installed, which auto takes where nothing else is")
    said: list[str] = []
    backend = open_backend(bundle, "auto", said.append)
    assert backend.name == "tensorrt" or "tensorrt" in said[-1]
    backend.close()
