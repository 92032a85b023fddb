"""The ledger of a folder of reports: its place, its lock for one process, and how slides are started anew."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path

import filelock
import platformdirs

from ..bundle.bundle import Bundle
from ..errors import OutputError
from ..files import free_name, why_away, writing
from ..mounts import file_system, is_network
from .ledger import Ledger

LEDGER, LOCK = "ledger.sqlite", "ledger.lock"


@contextmanager
def existing_ledger(out: Path) -> Iterator[tuple[Ledger, Bundle]]:
    """Open and lock the ledger of existing reports; yields it with the bundle that made them.

    Raises:
        OutputError: There is none, or it is in use, damaged, or cannot be written.
    """
    _check_there(out)
    with _locked(out) as directory, Ledger(directory / LEDGER) as ledger:
        yield ledger, _bundle_of(ledger, out)


@contextmanager
def review_ledger(out: Path) -> Iterator[tuple[Ledger, Bundle]]:
    """Open the ledger of existing reports without its lock, beside the process that may be writing its rows.

    Raises:
        OutputError: There is none, or it is damaged.
    """
    _check_there(out)
    with Ledger(_ledger_directory(out) / LEDGER, reviews_only=True) as ledger:
        yield ledger, _bundle_of(ledger, out)


def _check_there(out: Path) -> None:
    if reason := why_away(out / LEDGER):
        raise OutputError(f"{out} cannot be reached: {reason}")
    if not out.is_dir() or not (_ledger_directory(out) / LEDGER).exists():
        raise OutputError(f"{out} has no cartcls ledger: name the folder that --out was for")


def _bundle_of(ledger: Ledger, out: Path) -> Bundle:
    if (bundle := ledger.bundle()) is None:
        raise OutputError(f"{out} has no reports yet")
    return bundle


def has_slide(out: Path, slide_dir: Path) -> bool:
    """Whether the ledger of a folder of reports has an open slide of this folder; asked without the lock.

    A ledger that is missing or cannot be read has none: the command that opens it says why.
    """
    file = (_ledger_directory(out) / LEDGER).absolute()
    query = "SELECT EXISTS (SELECT 1 FROM slides WHERE state = 'open' AND source = ?)"
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as connection:
            return bool(connection.execute(query, (os.fsencode(slide_dir.resolve()),)).fetchone()[0])
    except sqlite3.Error:
        return False


@contextmanager
def open_ledger(out: Path, bundle: Bundle, fresh: Iterable[Path] = ()) -> Iterator[Ledger]:
    """Open and lock the ledger of a folder of reports, for one bundle.

    Args:
        out: Folder of reports; created if missing.
        bundle: The bundle that will classify.
        fresh: Folders of slides to start anew: their reports are moved to a folder `before-TIME` in `out`, and their
            rows stay in the ledger as those of closed slides.

    Raises:
        OutputError: It is in use, made by another bundle, damaged, or cannot be written.
    """
    with _locked(out) as directory, Ledger(directory / LEDGER) as ledger:
        ledger.bind(bundle)
        ledger.begin_closing(os.fsencode(slide_dir.resolve()) for slide_dir in fresh)
        _move_aside(out, ledger)
        yield ledger


@contextmanager
def _locked(out: Path) -> Iterator[Path]:
    """Lock a folder of reports; yields the folder of its ledger."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        directory = _ledger_directory(out)
        lock = filelock.FileLock(directory / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise OutputError(
                f"{out} is in use by another cartcls: wait for it or stop it, or choose another --out"
            ) from None
    try:
        yield directory
    finally:
        lock.release()


def _ledger_directory(out: Path) -> Path:
    """Folder of the ledger: that of the reports, or one on this machine if they are on a network share."""
    if not is_network(file_system(out)):
        return out
    directory = platformdirs.user_state_path("cartcls") / hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:16]
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _move_aside(out: Path, ledger: Ledger) -> None:
    """Move the reports of slides that are being closed, also those that a killed process has not moved yet."""
    before = None
    for slide in ledger.closing():
        report = out / slide.slide.name
        if os.path.lexists(report):
            with writing(out, then=f"move {report} elsewhere, and run the same command again"):
                before = before or _new_folder(out)
                report.rename(before / report.name)
                os.sync()  # the move must be on the disk before the ledger says so
        ledger.finish_closing(slide.slide)


def _new_folder(out: Path) -> Path:
    folder = free_name(out / f"before-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}")
    folder.mkdir()
    return folder
