"""The ledger of a folder of reports: its place, its lock for one process, and how slides are started anew."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

import filelock
import platformdirs

from ..bundle.bundle import Bundle
from ..errors import InUseError, OutputError
from ..files import free_name, why_away, writing
from ..mounts import file_system, is_network
from .ledger import Ledger

LEDGER, LOCK, HOLDER = "ledger.sqlite", "ledger.lock", "ledger.holder"
SHORT, STATION_PATIENCE = 0.5, 30.0  # seconds to wait for the lock; a station has it only while it writes reports
REVIEW, WATCH = "review", "watch"


@contextmanager
def existing_ledger(out: Path, command: str = "another command") -> Iterator[tuple[Ledger, Bundle]]:
    """Open and lock the ledger of existing reports; yields it with the bundle that made them.

    Rows have the corrections that a station has inserted.

    Args:
        out: Folder of reports.
        command: What has it, for the message of those that it refuses meanwhile.

    Raises:
        InUseError: Another process has it.
        OutputError: There is none, or it is damaged, or cannot be written.
    """
    _check_there(out)
    with _locked(out, command) as directory, Ledger(directory / LEDGER) as ledger:
        bundle = _bundle_of(ledger, out)
        with writing(f"the ledger of {out}"):
            ledger.take_corrections()
        yield ledger, bundle


@contextmanager
def review_ledger(out: Path) -> Iterator[tuple[Ledger, Bundle]]:
    """Open the ledger of existing reports without its lock: nothing but corrections and signatures can be inserted.

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


def watch_has_stopped(out: Path) -> bool:
    """Whether a watch wrote these reports, and nothing does now."""
    directory = _ledger_directory(out)
    if not any(line.startswith(WATCH) for line in _holders(directory)):
        return False
    lock = filelock.FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return False
    lock.release()
    return True


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
def open_ledger(out: Path, bundle: Bundle, fresh: Iterable[Path] = (), command: str = "batch") -> Iterator[Ledger]:
    """Open and lock the ledger of a folder of reports, for one bundle.

    Args:
        out: Folder of reports; created if missing.
        bundle: The bundle that will classify.
        fresh: Folders of slides to start anew: their reports are moved to a folder `before-TIME` in `out`, and their
            rows stay in the ledger as those of closed slides.
        command: As of `existing_ledger`.

    Raises:
        InUseError: Another process has it.
        OutputError: It is made by another bundle, damaged, or cannot be written.
    """
    with _locked(out, command) as directory, Ledger(directory / LEDGER) as ledger:
        ledger.bind(bundle)
        ledger.begin_closing(os.fsencode(slide_dir.resolve()) for slide_dir in fresh)
        _move_aside(out, ledger)
        yield ledger


@contextmanager
def _locked(out: Path, command: str) -> Iterator[Path]:
    """Lock a folder of reports; yields the folder of its ledger."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        directory = _ledger_directory(out)
        lock = filelock.FileLock(directory / LOCK)
        if not (_is_free(lock, SHORT) or (_is_station(directory) and _is_free(lock, STATION_PATIENCE))):
            raise InUseError(f"{out} is in use by another cartcls{_what_to_do(directory)}")
    try:
        _note_holder(directory, command)
        yield directory
    finally:
        lock.release()


def _is_free(lock: filelock.BaseFileLock, seconds: float) -> bool:
    try:
        lock.acquire(timeout=seconds)
    except filelock.Timeout:
        return False
    return True


def _holders(directory: Path) -> list[str]:
    """Command and process that had the lock last; and the last watch, if that was another."""
    try:
        return (directory / HOLDER).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _note_holder(directory: Path, command: str) -> None:
    """Note who has the lock; it is a hint for messages, and a disk that is full does without."""
    watched = [line for line in _holders(directory) if line.startswith(WATCH) and command != WATCH][-1:]
    with suppress(OSError):
        (directory / HOLDER).write_text("\n".join([f"{command} {os.getpid()}", *watched]) + "\n", encoding="utf-8")


def _is_station(directory: Path) -> bool:
    return any(line.startswith(f"{REVIEW} ") for line in _holders(directory)[:1])


def _what_to_do(directory: Path) -> str:
    """Who has the lock, and how to go on."""
    holder, _, process = (_holders(directory) or [""])[0].rpartition(" ")
    if holder == WATCH:
        return (
            f" (watch, process {process}), which runs until it is stopped: stop it, run this command, and start it"
            " again (as a service: systemctl stop, then start). Labels can be corrected beside it: cartcls review"
        )
    if holder == "batch":
        return f" (batch, process {process}): run this command when it has ended, or choose another --out"
    return f"{f' ({holder}, process {process})' if holder else ''}: try again when it has ended"


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
