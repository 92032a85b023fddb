"""CUDA by libraries that only pretend; a GPU's own tests are in test_gpu.py."""

import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest

from cartcls.runtime.errors import BackendError, NoGpuError, NotInstalledError
from cartcls.runtime.inference import cuda
from cartcls.runtime.inference.cuda import CudaBindings, Gpu, PyCuda, open_cuda

VERSION = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025
GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)
"""


class Runtime:
    """As `cuda.bindings.runtime`: each call gives an error, and then its results."""

    def __init__(self, error: int = 0):
        self.error = error
        self.freed: list[int] = []

    def cudaGetDeviceProperties(self, device: int) -> tuple[object, ...]:
        return 0, SimpleNamespace(name=b"A GPU\0\0\0", major=8, minor=6, totalGlobalMem=1 << 34)

    def cudaDriverGetVersion(self) -> tuple[int, ...]:
        return 0, 12090

    def cudaStreamCreate(self) -> tuple[int, ...]:
        return 0, 7

    def cudaMalloc(self, size: int) -> tuple[int, ...]:
        return self.error, 1000

    def cudaFree(self, address: int) -> tuple[int]:
        self.freed.append(address)
        return (0,)

    def cudaGetErrorString(self, error: int) -> tuple[int, bytes]:
        return 0, b"out of memory"


@pytest.fixture(autouse=True)
def no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither library is installed, and the system tells no version."""
    for name in ("pycuda", "pycuda.driver", "pycuda.autoprimaryctx", "cuda.bindings", "cuda.bindings.runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(cuda, "DRIVER", tmp_path / "version")


def install(patch: pytest.MonkeyPatch, **modules: object) -> None:
    for name, module in modules.items():
        patch.setitem(sys.modules, name.replace("_", "."), module)


def test_with_neither_library_it_says_what_to_install():
    with pytest.raises(NotInstalledError, match="pip install 'cuda-bindings>="):
        open_cuda()


def test_a_gpu_is_described_as_its_driver_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    install(monkeypatch, cuda_bindings=SimpleNamespace(runtime=Runtime()))
    found = open_cuda()
    assert isinstance(found, CudaBindings)
    assert (found.gpu, found.stream) == (Gpu("A GPU", "sm86", "CUDA 12.9", 1 << 34), 7)
    (tmp_path / "version").write_text(VERSION)
    assert open_cuda().gpu.driver == "580.95.05"


def test_an_error_is_told_with_its_text_and_where_it_came_from(monkeypatch: pytest.MonkeyPatch):
    runtime = Runtime(error=2)
    install(monkeypatch, cuda_bindings=SimpleNamespace(runtime=runtime))
    opened = open_cuda()
    with pytest.raises(BackendError, match=r"CUDA cannot be used: out of memory \(cudaMalloc\)"):
        opened.allocate(1)
    runtime.error = 0
    assert opened.allocate(1) == 1000
    opened.free(1000)
    assert runtime.freed == [1000]


def test_no_driver_and_no_device_are_no_gpu(monkeypatch: pytest.MonkeyPatch):
    def no_driver(device: int) -> tuple[object, ...]:
        raise RuntimeError("libcuda.so.1 is missing")

    runtime = Runtime()
    install(monkeypatch, cuda_bindings=SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(cuda, "NODES", [Path("/")])
    monkeypatch.setattr(runtime, "cudaGetDeviceProperties", no_driver)
    with pytest.raises(NoGpuError, match=r"libcuda\.so\.1 is missing"):
        open_cuda()
    monkeypatch.setattr(runtime, "cudaGetDeviceProperties", lambda device: (100, None))
    with pytest.raises(NoGpuError, match="out of memory"):
        open_cuda()


@pytest.mark.parametrize(
    ("vendor", "reason"), [("0x10de\n", "the NVIDIA driver is not loaded"), ("0x8086\n", "there is no NVIDIA GPU")]
)
def test_no_gpu_is_not_called_an_old_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vendor: str, reason: str):
    (tmp_path / "0000:00:01.0").mkdir()
    (tmp_path / "0000:00:01.0" / "vendor").write_text(vendor)
    monkeypatch.setattr(cuda, "NODES", [tmp_path / "none"])
    monkeypatch.setattr(cuda, "PCI_VENDORS", tmp_path)
    runtime = Runtime()
    install(monkeypatch, cuda_bindings=SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(runtime, "cudaGetDeviceProperties", lambda device: (35, None))
    with pytest.raises(NoGpuError, match=reason):
        open_cuda()


class Allocation:
    """As PyCUDA has it: device memory goes with the last reference to it."""

    def __init__(self, freed: list[int]):
        self.freed = freed

    def __int__(self) -> int:
        return 1000

    def free(self) -> None:
        self.freed.append(int(self))


class Driver:
    """As `pycuda.driver`, with a gibibyte of memory."""

    Error = type("Error", (Exception,), {})
    Context = SimpleNamespace(
        get_device=lambda: SimpleNamespace(
            compute_capability=lambda: (9, 0), name=lambda: "A GPU", total_memory=lambda: 1 << 30
        )
    )

    def __init__(self) -> None:
        self.freed: list[int] = []
        self.held: list[weakref.ref[Allocation]] = []

    def get_driver_version(self) -> int:
        return 13000

    def Stream(self) -> SimpleNamespace:
        return SimpleNamespace(handle=5)

    def mem_alloc(self, size: int) -> Allocation:
        if size > 1 << 30:
            raise self.Error("cuMemAlloc failed: out of memory")
        allocation = Allocation(self.freed)
        self.held.append(weakref.ref(allocation))
        return allocation


def test_pycuda_goes_first_where_it_is_installed_and_its_memory_lives_until_it_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
):
    driver = Driver()
    install(monkeypatch, pycuda=SimpleNamespace(driver=driver), pycuda_driver=driver, pycuda_autoprimaryctx=object())
    install(monkeypatch, cuda_bindings=SimpleNamespace(runtime=Runtime()))
    opened = open_cuda()
    assert isinstance(opened, PyCuda)
    assert (opened.gpu, opened.stream) == (Gpu("A GPU", "sm90", "CUDA 13.0", 1 << 30), 5)
    assert opened.allocate(1) == 1000
    assert driver.held[0]() is not None
    opened.free(1000)
    assert driver.freed == [1000]
    with pytest.raises(BackendError, match="CUDA cannot be used: cuMemAlloc failed: out of memory"):
        opened.allocate(1 << 31)
