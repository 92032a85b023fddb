import errno
import sqlite3
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest
from samples import RUN

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError
from cartcls.runtime.ledger import folder as folders
from cartcls.runtime.ledger.folder import HOLDER, LEDGER, LOCK, existing_ledger, open_ledger
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


def test_a_share_that_is_down_is_a_clear_error(share_that_is_down: Path):
    with pytest.raises(OutputError, match="cannot be reached: Host is down"), existing_ledger(share_that_is_down):
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


@pytest.fixture
def begun(out: Path, bundle: Bundle) -> Path:
    """Reports of the slides /captures/s and /captures/t, and a folder that is none."""
    with open_ledger(out, bundle) as ledger:
        for name in ("s", "t"):
            ledger.add_slide(f"/captures/{name}".encode(), name).begin_run(RUN)
    for name in ("s/cells.csv", "t/cells.csv", "thesis/thesis.txt"):
        (out / name).parent.mkdir()
        (out / name).write_text(name)
    return out


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(LEDGER)} - {HOLDER}


def test_only_named_slides_are_started_anew(begun: Path, bundle: Bundle):
    with open_ledger(begun, bundle, [Path("/captures/s"), Path("/captures/unknown")]) as ledger:
        (kept,) = ledger.slides()
        assert (kept.slide.name, ledger.closing()) == ("t", [])
        again = ledger.add_slide(b"/captures/s", "s")
        assert again.last_run() is None
    (before,) = begun.glob("before-*")
    assert (names(before), names(before / "s")) == ({"s"}, {"cells.csv"})
    assert names(begun) == {before.name, "t", "thesis", LOCK}
    with sqlite3.connect(begun / LEDGER) as connection:  # the rows of the closed slide are still there
        query = "SELECT slides.state, count(runs.id) FROM slides LEFT JOIN runs ON slide = slides.id GROUP BY slides.id"
        assert connection.execute(query).fetchall() == [("closed", 1), ("open", 1), ("open", 0)]
    connection.close()


def test_slides_may_be_started_anew_twice_in_a_second(begun: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folders, "datetime", SimpleNamespace(now=lambda zone: datetime(2026, 1, 2, tzinfo=zone)))
    for name in ("s", "t", "s"):
        with open_ledger(begun, bundle, [Path("/captures") / name]) as ledger:
            ledger.add_slide(f"/captures/{name}".encode(), name)
        (begun / name).mkdir()
    first, second, third = sorted(begun.glob("before-*"))
    assert (second.name, third.name) == (f"{first.name}-2", f"{first.name}-3")
    assert [names(folder) for folder in (first, second, third)] == [{"s"}, {"t"}, {"s"}]


@pytest.mark.parametrize("where", ["before the move", "after the move", "in the ledger"])
def test_a_kill_while_a_slide_is_closed_loses_nothing(
    begun: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, where: str
):
    rename = Path.rename

    def killed(*arguments: Path) -> None:
        if where == "after the move":
            rename(*arguments)
        raise KeyboardInterrupt

    target = (Ledger, "finish_closing") if where == "in the ledger" else (Path, "rename")
    with monkeypatch.context() as patch:
        patch.setattr(*target, killed)
        with pytest.raises(KeyboardInterrupt), open_ledger(begun, bundle, [Path("/captures/s")]):
            pass
    with open_ledger(begun, bundle) as ledger:
        assert [found.slide.name for found in ledger.slides()] == ["t"]
        assert ledger.closing() == []
        ledger.add_slide(b"/captures/s", "s")
    assert not (begun / "s").exists()
    assert [path.read_text() for path in begun.glob("before-*/s/cells.csv")] == ["s/cells.csv"]


def test_a_report_that_cannot_be_moved_is_a_clear_error(begun: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    def other_disk(path: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", other_disk)
    with (
        pytest.raises(OutputError, match=f"move {begun / 's'} elsewhere"),
        open_ledger(begun, bundle, [Path("/captures/s")]),
    ):
        pass
    monkeypatch.undo()
    (begun / "s").rename(begun / "elsewhere")
    with open_ledger(begun, bundle) as ledger:
        assert [found.slide.name for found in ledger.slides()] == ["t"]


def test_another_bundle_moves_nothing_and_needs_another_folder(begun: Path, bundle: Bundle):
    other = replace(bundle, sha256="0" * 64)
    refused = pytest.raises(OutputError, match=r"name another folder with --out$")
    with refused, open_ledger(begun, other, [Path("/captures/s")]):
        pass
    assert names(begun) == {"s", "t", "thesis", LOCK}
    with open_ledger(begun, bundle) as ledger:
        assert len(ledger.slides()) == 2


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
