"""CUDA by libraries that only pretend; a GPU's own tests are in test_gpu.py."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fake_gpu import LIBRARIES, CudaRuntime, FakeGpu, installed

from cartcls.runtime.errors import BackendError, NoGpuError, NotInstalledError, OutOfMemoryError
from cartcls.runtime.inference import cuda, cuda_protocol
from cartcls.runtime.inference.cuda import CudaBindings, PyCuda, open_cuda
from cartcls.runtime.inference.cuda_protocol import Gpu, check_copies

VERSION = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025
GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)
"""


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file in which the system tells the driver's version; it is not there."""
    monkeypatch.setattr(cuda_protocol, "DRIVER", tmp_path / "version")
    return tmp_path / "version"


def test_with_neither_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    for name in ("pycuda", "pycuda.driver", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NotInstalledError, match="pip install 'cuda-bindings>="):
        open_cuda()


@pytest.mark.parametrize(("library", "kind"), [("pycuda", PyCuda), ("cuda-bindings", CudaBindings)])
def test_a_gpu_is_described_as_its_driver_does(library: str, kind: type, driver: Path):
    with installed(FakeGpu(), library):
        found = open_cuda()
        assert isinstance(found, kind)
        assert (found.gpu, found.stream) == (Gpu("A GPU", "sm86", "CUDA 12.9", 1 << 33), 7)
        driver.write_text(VERSION)
        assert open_cuda().gpu.driver == "580.95.05"


def here(work: Callable[[], None]) -> None:
    work()


def in_a_pool(work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


@pytest.mark.parametrize("run", [here, in_a_pool])
@pytest.mark.parametrize("library", LIBRARIES)
def test_bytes_come_back_in_any_thread_and_leave_nothing(library: str, run: Callable[[Callable[[], None]], None]):
    gpu = FakeGpu()

    def copy() -> None:
        check_copies(opened)
        assert gpu.depth() == 0  # or PyCUDA aborts the process at the end of the thread
        assert gpu.is_free

    with installed(gpu, library):
        opened = open_cuda()
        run(copy)
        run(opened.close)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_gpu_is_opened_in_any_thread(library: str):
    gpu = FakeGpu()
    with installed(gpu, library), ThreadPoolExecutor(1) as pool:
        check_copies(pool.submit(open_cuda).result())
        assert pool.submit(gpu.depth).result() == 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_whatever_call_fails_is_an_error_with_its_text(library: str):
    fails = 0
    for fails in range(100):
        gpu = FakeGpu(fails)
        with installed(gpu, library):
            try:
                opened = open_cuda()
                check_copies(opened)
                opened.close()
            except NoGpuError as error:
                assert not gpu.device
                assert "out of memory" in str(error)
            except OutOfMemoryError as error:
                assert str(error).startswith("CUDA cannot be used: ")
        assert gpu.is_free
        assert gpu.depth() == 0
        if len(gpu.calls) <= fails:
            break
    assert 10 < fails < 99


def test_no_driver_and_no_device_are_no_gpu(monkeypatch: pytest.MonkeyPatch):
    def no_driver(runtime: Any, device: int) -> tuple[object, ...]:
        raise RuntimeError("libcuda.so.1 is missing")

    with installed(FakeGpu(), "cuda-bindings"):
        monkeypatch.setattr(CudaRuntime, "cudaGetDeviceProperties", no_driver)
        with pytest.raises(NoGpuError, match=r"libcuda\.so\.1 is missing"):
            open_cuda()
        monkeypatch.setattr(CudaRuntime, "cudaGetDeviceProperties", lambda runtime, device: (100, None))
        with pytest.raises(NoGpuError, match=r"out of memory \(<lambda>\)"):
            open_cuda()
    with installed(FakeGpu(), "pycuda"):
        driver: Any = sys.modules["pycuda.driver"]

        def no_device() -> None:
            raise driver.Error("cuInit failed: no CUDA-capable device is detected")

        monkeypatch.setattr(driver, "init", no_device)
        with pytest.raises(NoGpuError, match="CUDA cannot be used: cuInit failed: no CUDA-capable device is detected"):
            open_cuda()


@pytest.mark.parametrize(
    ("vendor", "reason"), [("0x10de\n", "the NVIDIA driver is not loaded"), ("0x8086\n", "there is no NVIDIA GPU")]
)
def test_no_gpu_is_not_called_an_old_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vendor: str, reason: str):
    (tmp_path / "0000:00:01.0").mkdir()
    (tmp_path / "0000:00:01.0" / "vendor").write_text(vendor)
    monkeypatch.setattr(cuda, "PCI_VENDORS", tmp_path)
    with installed(FakeGpu(), "cuda-bindings"):
        monkeypatch.setattr(cuda, "NODES", [tmp_path / "none"])
        monkeypatch.setattr(CudaRuntime, "cudaGetDeviceProperties", lambda runtime, device: (35, None))
        with pytest.raises(NoGpuError, match=reason):
            open_cuda()


def test_other_bytes_than_were_sent_are_found(monkeypatch: pytest.MonkeyPatch):
    with installed(FakeGpu(), "cuda-bindings"):
        opened = open_cuda()
        monkeypatch.setattr(opened, "copy_in", lambda address, source: None)
        with pytest.raises(BackendError, match="A GPU gives back other bytes than it was given"):
            check_copies(opened)


def test_cuda_bindings_has_the_calls_that_are_used():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    used = {name for name in vars(CudaRuntime) if name.startswith("cuda")} - {"cudaMemcpyKind"}
    assert {name for name in used if not hasattr(runtime, name)} == set()
    assert runtime.cudaMemcpyKind.cudaMemcpyHostToDevice == 1
