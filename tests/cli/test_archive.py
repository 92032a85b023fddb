"""`cartcls archive` by its options, with a run that does nothing: what it prints, and its exit codes."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cartcls.cli import app
from cartcls.runtime.archive import archive as archives
from cartcls.runtime.archive.archive import Archived
from cartcls.runtime.archive.table import open_table
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError

WRITTEN = Archived(2, 1, 1, 3, Counter(ok=2, review=1), 1, 1.5)


def archive(monkeypatch: pytest.MonkeyPatch, done: Archived, *options: str) -> Result:
    monkeypatch.setattr(archives, "archive", lambda *_: done)
    return CliRunner().invoke(app, ["archive", "slides", "--out", "table", *options])


def test_json_says_what_was_done(monkeypatch: pytest.MonkeyPatch):
    done = archive(monkeypatch, WRITTEN, "--json")
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout) == {
        "slides": 2, "written": 1, "unchanged": 1, "images": 3, "status": {"ok": 2, "review": 1}, "alarms": 1,
        "seconds": 1.5, "rejected": 0, "failed": {},
    }  # fmt: skip


def test_people_read_what_was_done(monkeypatch: pytest.MonkeyPatch):
    done = archive(monkeypatch, WRITTEN)
    assert done.stdout.splitlines()[1:] == [
        "2 slides: 1 written, 1 unchanged, 0 failed",
        "3 images in 2 s, 2 images/s: 2 ok, 1 review",
        "warning: unlike home, every cell is for review: 1 slide",
        "table",
    ]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_rejected_images_and_failed_slides_have_their_exit_codes(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
):
    assert archive(monkeypatch, Archived(1, 1, rejected=1), *options).exit_code == 3
    failed = archive(monkeypatch, Archived(2, 1, rejected=1, failed={"/slides/17": "cannot be read"}), *options)
    assert isinstance(failed.exception, OutputError)
    assert "1 of 2 slides are not in table" in str(failed.exception)
    assert (Path("table").exists(), bool(failed.stdout)) == (False, True)


def test_a_table_without_a_slide_is_told(bundle: Bundle, tmp_path: Path):
    with open_table(tmp_path / "table", bundle, features=False):
        pass
    done = CliRunner().invoke(app, ["archive-summary", str(tmp_path / "table")])
    assert (done.exit_code, done.stdout) == (0, "")
    assert "has no slide yet" in done.stderr.replace("\n", " ")
