import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from reviewer import classify, make_slide
from samples import TIME
from starlette.testclient import httpx  # the one that Starlette goes with

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError
from cartcls.runtime.ledger.folder import review_ledger
from cartcls.runtime.ledger.signatures import digest_of, save_signature
from cartcls.runtime.station.serve import is_of_this_machine, serve


@pytest.fixture
def out(slide: Path, tmp_path: Path, bundle: Bundle) -> Path:
    return classify(make_slide(slide, tmp_path / "slide"), bundle)


def test_a_folder_without_reports_and_a_port_that_is_taken_are_clear_errors(out: Path, tmp_path: Path):
    with pytest.raises(OutputError, match="has no cartcls ledger"):
        serve(tmp_path / "none", "127.0.0.1", 0, print, print)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OutputError, match=f"port {port}: .*name another --port"):
            serve(out, "127.0.0.1", port, print, print)
    with pytest.raises(OutputError, match=r"nothing can listen at 203\.0\.113\.1"):
        serve(out, "203.0.113.1", 0, print, print)


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.9.9.9", True), ("0.0.0.0", False), ("box", False)],
)
def test_it_is_known_whether_the_network_is_let_in(host: str, alone: bool):
    assert is_of_this_machine(host) == alone


def test_the_browser_is_started_with_what_lets_in_once_and_a_stranger_leaves_no_word(out: Path, tmp_path: Path):
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1"\n')
    browser.chmod(0o755)
    screen, terminal = os.openpty()
    command = [sys.executable, "-m", "cartcls.cli", "review", os.fspath(out)]
    environment = {**os.environ, "BROWSER": f"{browser} %s"}
    with subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE, text=True, env=environment) as station:
        os.close(terminal)
        try:
            with open(screen, encoding="utf-8") as said:
                printed, opened = said.readline().strip(), said.readline().strip()
            address, _, token = printed.partition("?token=")
            assert opened.startswith(f"{address}?token=") and token not in opened
            for target, place in ((opened, "/"), (opened, "/enter"), (printed, "/"), (printed, "/")):
                assert httpx.get(target).headers["location"] == place
            asking = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
            assert httpx.get(address, headers={**asking, "Sec-WebSocket-Key": "A" * 24}).status_code == 303
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2].strip("/")))) as stranger:
                stranger.sendall(b"\x16\x03\x01 hello\r\n\r\n")
                assert b"400" in stranger.recv(1000)
        finally:
            station.terminate()
        assert station.communicate(timeout=60)[1] == ""
        assert station.returncode == 0


def test_verify_names_signatures_and_fails_where_none_holds(out: Path):
    def verify() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "cartcls.cli", "verify", os.fspath(out)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    with review_ledger(out) as (ledger, _):
        (slide,) = ledger.slides()
        with slide.database.transaction():
            save_signature(slide, "Anna", TIME, digest_of(slide))
    done = verify()
    assert (done.returncode, done.stdout.splitlines()[1].startswith(f"  signed by Anna, {TIME}, ")) == (0, True)
    assert done.stdout.endswith(": holds\n")
    with sqlite3.connect(out / "ledger.sqlite") as database:
        database.execute("UPDATE cells SET label = 'monocyte' WHERE seq = 1")
    done = verify()
    assert done.returncode == 1
    assert done.stdout.endswith(": void: the slide has changed since\n")
