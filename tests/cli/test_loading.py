import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import FakeBackend

from cartcls.cli.loading import open_classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.inference import worker


def test_the_heartbeat_goes_on_while_the_model_is_loaded(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def build(*given: object, alive: Callable[[], None], **named: object) -> FakeBackend:
        alive()
        return FakeBackend()

    monkeypatch.setattr(worker, "open_in_child", build)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        open_classifier(bundle, "auto", in_worker=True).close()
        assert systemd.recv(100) == b"WATCHDOG=1"
