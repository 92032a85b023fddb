import sys
from types import SimpleNamespace
from typing import Any

import pytest

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError, NoEngineError, ParityError
from cartcls.runtime.inference import choose as backends
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.inference.cuda import NO_GPU

TENSORRT, CUDA = SimpleNamespace(name="tensorrt"), SimpleNamespace(name="cuda")


def gpu_backends(monkeypatch: pytest.MonkeyPatch, **found: object) -> None:
    """Let each GPU backend be missing (None), fail (a text or an error), or open (anything else)."""

    def opener(result: object) -> Any:
        def open_it(*arguments: object) -> object:
            if isinstance(result, str):
                raise BackendError(result)
            if isinstance(result, Exception):
                raise result
            return result

        return open_it

    entries = {name: (lambda result=result: result is not None, opener(result)) for name, result in found.items()}
    monkeypatch.setattr(backends, "_GPU_BACKENDS", entries)


@pytest.mark.parametrize(
    ("tensorrt", "cuda", "chosen", "says"),
    [
        (TENSORRT, CUDA, "tensorrt", []),
        ("no driver", CUDA, "cuda", ["using cuda; tensorrt: no driver"]),
        (None, CUDA, "cuda", ["using cuda; tensorrt is not installed"]),
        (None, None, "openvino", ["using the CPU (openvino); tensorrt is not installed, cuda is not installed"]),
        (ParityError("other answers"), CUDA, "cuda", ["using cuda; tensorrt: other answers"]),
        ("no driver", "no cuDNN", "openvino", ["using the CPU (openvino); tensorrt: no driver, cuda: no cuDNN"]),
    ],
)
def test_auto_takes_the_fastest_that_works_and_says_why_not_the_others(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tensorrt: object, cuda: object, chosen: str, says: list[str]
):
    gpu_backends(monkeypatch, tensorrt=tensorrt, cuda=cuda)
    monkeypatch.setattr(backends, "open_openvino", lambda bundle: SimpleNamespace(name="openvino"))
    monkeypatch.setattr(backends, "why_no_gpu", lambda: "")
    said: list[str] = []
    assert open_backend(bundle, "auto", said.append).name == chosen
    assert said == says


@pytest.mark.parametrize("platform", ["linux", "win32"])
@pytest.mark.parametrize("tensorrt", [None, NO_GPU])
def test_where_there_is_no_gpu_the_cpu_is_taken_in_silence(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tensorrt: object, platform: str
):
    gpu_backends(monkeypatch, tensorrt=tensorrt, cuda=None)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(backends, "open_openvino", lambda bundle: SimpleNamespace(name="openvino"))
    monkeypatch.setattr(backends, "why_no_gpu", lambda: NO_GPU)
    said: list[str] = []
    assert open_backend(bundle, "auto", said.append).name == "openvino"
    assert not said
    monkeypatch.setattr(backends, "why_no_gpu", lambda: "the NVIDIA driver is not loaded")
    open_backend(bundle, "auto", said.append)
    assert said[0].startswith("using the CPU (openvino); tensorrt")


def test_where_there_is_no_gpu_nothing_for_one_is_looked_for(bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    gpu_backends(monkeypatch, tensorrt=AssertionError("it is opened"))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(backends, "open_openvino", lambda bundle: SimpleNamespace(name="openvino"))
    monkeypatch.setattr(backends, "why_no_gpu", lambda: NO_GPU)
    assert open_backend(bundle, "auto").name == "openvino"


@pytest.mark.parametrize("name", ["tensorrt", "cuda"])
def test_what_was_asked_for_and_fails_is_an_error_and_no_silent_cpu(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, name: str
):
    gpu_backends(monkeypatch, **{"tensorrt": TENSORRT, "cuda": CUDA, name: "no driver"})
    with pytest.raises(BackendError, match="no driver"):
        open_backend(bundle, name)


def test_a_gpu_whose_engine_may_not_be_built_is_no_reason_for_the_cpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    def refuse(bundle: object, notify: object, progress: object, build: bool) -> object:
        assert not build
        raise NoEngineError("no engine matches")

    monkeypatch.setattr(backends, "_GPU_BACKENDS", {"tensorrt": (lambda: True, refuse)})
    monkeypatch.setattr(backends, "why_no_gpu", lambda: "")
    with pytest.raises(NoEngineError):
        open_backend(bundle, "auto", build=False)


def test_an_unknown_backend_is_a_clear_error(bundle: Bundle):
    with pytest.raises(BackendError, match="use one of auto, tensorrt, cuda, openvino"):
        open_backend(bundle, "abacus")
