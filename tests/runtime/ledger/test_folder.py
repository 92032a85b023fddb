from dataclasses import replace
from pathlib import Path

import filelock
import pytest

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError
from cartcls.runtime.ledger import folder as folders
from cartcls.runtime.ledger.folder import LEDGER, existing_ledger, open_ledger
from cartcls.runtime.ledger.ledger import Ledger


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_ledger_is_made_and_found_again_with_its_bundle(out: Path, bundle: Bundle):
    with open_ledger(out, bundle) as ledger:
        slide = ledger.add_slide(b"/captures/s", "s").slide
    with open_ledger(out, bundle) as ledger:
        assert [found.slide for found in ledger.slides()] == [slide]
    with existing_ledger(out) as (ledger, remembered):
        assert [found.slide for found in ledger.slides()] == [slide]
        assert remembered.sha256 == bundle.sha256


def test_a_folder_without_reports_is_a_clear_error_and_stays_as_it_is(out: Path):
    for _ in ("not there", "empty"):
        with pytest.raises(OutputError, match="has no cartcls ledger"), existing_ledger(out):
            pass
        assert not out.exists() or not list(out.iterdir())
        out.mkdir(exist_ok=True)
    Ledger(out / LEDGER).close()
    with pytest.raises(OutputError, match="has no reports yet"), existing_ledger(out):
        pass


def test_one_process_alone_has_it_until_it_ends_or_fails(out: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    locks: list[filelock.BaseFileLock] = []  # kept, for a lock that nobody holds is released by itself
    make = filelock.FileLock
    monkeypatch.setattr(filelock, "FileLock", lambda file: locks.append(make(file)) or locks[-1])
    with open_ledger(out, bundle):
        with pytest.raises(OutputError, match="in use by another cartcls"), open_ledger(out, bundle):
            pass
        with pytest.raises(OutputError, match="in use by another cartcls"), existing_ledger(out):
            pass
    with pytest.raises(KeyboardInterrupt), open_ledger(out, bundle):
        raise KeyboardInterrupt
    with pytest.raises(OutputError, match="by another bundle"), open_ledger(out, replace(bundle, sha256="0" * 64)):
        pass
    with open_ledger(out, bundle):
        pass


def test_what_is_there_is_set_aside_to_begin_anew(out: Path, bundle: Bundle):
    with open_ledger(out, bundle, fresh=True) as ledger:
        assert not list(out.glob("before-*"))
        ledger.add_slide(b"/captures/s", "s")
        ledger.add_slide(b"/captures/no report yet", "t")
    for name in ("s/cells.csv", "thesis/thesis.txt"):
        (out / name).parent.mkdir()
        (out / name).write_text(name)
    other = replace(bundle, sha256="0" * 64)
    with open_ledger(out, other, fresh=True) as ledger:
        assert not ledger.slides()
    (aside,) = out.glob("before-*")
    assert {path.name for path in aside.iterdir()} == {"s", LEDGER}
    assert (aside / "s" / "cells.csv").read_text() == "s/cells.csv"
    assert (out / "thesis" / "thesis.txt").exists()
    with Ledger(aside / LEDGER) as ledger:
        assert [found.slide.name for found in ledger.slides()] == ["s", "t"]


def test_reports_on_a_share_have_their_ledger_on_this_machine(
    out: Path, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(folders, "file_system", lambda folder: "cifs")
    with open_ledger(out, bundle) as ledger:
        ledger.add_slide(b"/captures/s", "s")
    assert not list(out.iterdir())
    assert len(list((tmp_path / "state").rglob(LEDGER))) == 1
    with existing_ledger(out) as (ledger, _):
        assert [found.slide.name for found in ledger.slides()] == ["s"]
    with pytest.raises(OutputError, match="has no cartcls ledger"), existing_ledger(tmp_path / "none"):
        pass
    assert len(list((tmp_path / "state" / "cartcls").iterdir())) == 1
    with open_ledger(tmp_path / "other", bundle) as ledger:
        assert not ledger.slides()


def test_a_folder_that_cannot_be_made_is_a_clear_error(out: Path, bundle: Bundle):
    out.touch()
    with pytest.raises(OutputError, match=r"out cannot be written: File exists"), open_ledger(out, bundle):
        pass
