import os
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from fake_gpu import FakeGpu, installed
from fake_tensorrt import FakeTensorRT
from msgspec import structs
from small_graph import small_bundle

from cartcls.runtime import doctor
from cartcls.runtime.bundle.bundle import SHIPPED, Bundle, load_bundle
from cartcls.runtime.doctor import Finding, examine
from cartcls.runtime.errors import BackendError, NotInstalledError, ParityError
from cartcls.runtime.inference import cuda_protocol
from cartcls.runtime.inference.cuda import NO_GPU, open_cuda
from cartcls.runtime.inference.tensorrt_engine import INSTALL
from cartcls.runtime.inference.tensorrt_open import open_tensorrt
from cartcls.runtime.verified import Verified, note_verified, verified_file


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with nothing, whatever this one has."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def none() -> None:
        raise BackendError("CUDA cannot be used: no driver")

    monkeypatch.setattr(doctor, "open_cuda", none)
    monkeypatch.setattr(doctor, "why_no_gpu", lambda: NO_GPU)


def by_subject(findings: list[Finding]) -> dict[str, list[Finding]]:
    return {finding.subject: [f for f in findings if f.subject == finding.subject] for finding in findings}


def test_a_machine_with_nothing_can_still_classify(tmp_path: Path):
    found = by_subject(examine(SHIPPED, None, tmp_path / "not" / "made" / "yet"))
    levels = Counter(finding.level for findings in found.values() for finding in findings)
    assert levels["failure"] == 0
    assert found["GPU"] == [Finding("note", "GPU", "there is no NVIDIA GPU")]
    assert found["engine"] == [Finding("note", "engine", "none needed: no GPU")]
    assert {finding.subject for findings in found.values() for finding in findings if finding.level == "ok"} == {
        "CPU",
        "bundle",
        "model on the CPU",
        "reports",
    }
    assert re.search(r"; [1-9]\d* at a time, ", found["model on the CPU"][0].text)
    assert "cores, " in found["CPU"][0].text
    assert "all digests match" in found["bundle"][0].text
    assert found["reports"][0].text.startswith(str(tmp_path))
    assert "captures" not in found


def test_what_is_broken_is_a_failure_with_a_remedy(tmp_path: Path):
    copy = Path(shutil.copytree(SHIPPED, tmp_path / "copy"))
    (copy / "model.onnx").write_bytes(b"junk")
    found = by_subject(examine(copy, tmp_path / "nowhere", tmp_path))
    for subject in ("bundle", "captures"):
        assert found[subject][0].level == "failure"
        assert found[subject][0].remedy
    assert "altered or damaged" in found["bundle"][0].text


def test_a_folder_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "_write", refuse)
    found = by_subject(examine(SHIPPED, None, tmp_path))
    problem = f"{tmp_path} cannot be written to: Permission denied"
    assert found["reports"] == [Finding("failure", "reports", problem, "give this user the permission")]


def test_a_share_that_is_down_is_told_with_its_reason(share_that_is_down: Path):
    found = by_subject(examine(SHIPPED, share_that_is_down, share_that_is_down / "out"))
    for subject, folder in (("captures", share_that_is_down), ("reports", share_that_is_down / "out")):
        assert [(f.level, f.text) for f in found[subject]] == [("failure", f"{folder} cannot be reached: Host is down")]
    found = by_subject(examine(share_that_is_down, None, share_that_is_down.parent))
    assert found["bundle"][0].text == f"{share_that_is_down} cannot be reached: Host is down"


@pytest.mark.parametrize(
    ("reason", "text", "remedy"),
    [("the NVIDIA driver is not loaded", "driver is not loaded", "install the driver"), ("", "no driver", INSTALL)],
)
def test_a_gpu_that_cannot_be_used_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, text: str, remedy: str
):
    monkeypatch.setattr(doctor, "why_no_gpu", lambda: reason)
    (found,) = by_subject(examine(SHIPPED, None, tmp_path))["GPU"]
    assert (found.level, found.remedy) == ("warning", remedy)
    assert found.text.endswith(text)


def test_what_differs_on_a_share_is_said_and_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "file_system", lambda folder: "cifs")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage._replace(free=5 * 1024**2))
    found = by_subject(examine(SHIPPED, tmp_path, tmp_path))
    assert (found["captures"][0].level, found["reports"][0].level) == ("note", "warning")
    assert "network share (cifs)" in found["captures"][0].text
    assert found["reports"][-1].text == "only 5 MiB free"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("problem", "text"),
    [(NotInstalledError("TensorRT is not installed"), "is not installed"), (None, "none was built yet")],
)
def test_a_gpu_without_an_engine_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception | None, text: str
):
    class TensorRT:
        __name__ = "tensorrt"
        __version__ = "10.0"

    def load() -> TensorRT:
        if problem is not None:
            raise problem
        return TensorRT()

    monkeypatch.setattr(doctor, "open_cuda", open_cuda)
    monkeypatch.setattr(doctor, "load_tensorrt", load)
    monkeypatch.setattr(doctor, "engine_directories", lambda bundle: [tmp_path])
    monkeypatch.setattr(cuda_protocol, "DRIVER", tmp_path / "version")
    with installed(FakeGpu(), "pycuda"):
        found = by_subject(examine(SHIPPED, None, tmp_path))
    assert (found["GPU"][0].level, found["GPU"][0].text) == ("ok", "A GPU, sm86, 8 GiB, driver CUDA 12.9")
    assert (found["engine"][0].level, bool(found["engine"][0].remedy)) == ("warning", True)
    assert text in found["engine"][0].text


def test_a_refused_engine_is_told(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mine, trt = small_bundle(bundle, tmp_path / "bundle"), FakeTensorRT("10.3.0", FakeGpu())
    trt.sign = -1
    with installed(trt.gpu, "pycuda", trt):
        with pytest.raises(ParityError):
            open_tensorrt(mine, lambda line: None)
        finding = doctor._engine(mine, open_cuda().gpu)
    assert (finding.level, finding.text[:39]) == ("warning", "one was built and refused, because its ")


def test_a_gpu_is_well_only_after_a_copy_went_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "open_cuda", open_cuda)
    gpu = FakeGpu(memory=1000)
    with installed(gpu, "cuda-bindings"):
        found = by_subject(examine(SHIPPED, None, tmp_path))["GPU"]
    assert [finding.level for finding in found] == ["warning"]
    assert found[0].text == "A GPU: CUDA cannot be used: out of memory (cudaMalloc)"
    assert gpu.is_free


def test_a_bundle_that_this_user_may_not_read_is_told(tmp_path: Path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    copy = Path(shutil.copytree(SHIPPED, tmp_path / "copy"))
    (copy / "model.onnx").chmod(0)
    assert by_subject(examine(copy, None, tmp_path))["bundle"][0].level == "failure"


def test_which_bundle_was_verified(tmp_path: Path):
    (found,) = by_subject(examine(SHIPPED, None, tmp_path))["verification"]
    assert (found.level, found.text.split(":")[0]) == ("note", "no bundle was compared with a reference here")
    one = Verified(
        bundle="mine", bundle_sha256="a" * 64, reference="/count.csv", slides=40, cells=8000, compared_at="2026-01-02"
    )
    note_verified(structs.replace(one, slides=1))
    (found,) = by_subject(examine(SHIPPED, None, tmp_path))["verification"]
    assert "1 slide and 8000 cells" in found.text
    note_verified(one)
    (found,) = by_subject(examine(SHIPPED, None, tmp_path))["verification"]
    assert found.level == "warning" and found.remedy
    assert found.text.startswith("another bundle was verified than the one in use: mine aaaaaaaaaaaa (40 slides")
    note_verified(structs.replace(one, bundle_sha256=load_bundle(SHIPPED).sha256))
    (found,) = by_subject(examine(SHIPPED, None, tmp_path))["verification"]
    assert found.level == "ok" and "40 slides and 8000 cells, with /count.csv" in found.text
    verified_file().write_bytes(b"{")
    (found,) = by_subject(examine(SHIPPED, None, tmp_path))["verification"]
    assert found.level == "note"
