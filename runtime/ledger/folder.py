"""The ledger of a folder of reports: where it lies, that one process alone opens it, and how to begin anew."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import filelock
import platformdirs

from ..bundle.bundle import Bundle
from ..errors import OutputError
from ..files import writing
from ..mounts import file_system, is_network
from .ledger import Ledger

LEDGER, LOCK = "ledger.sqlite", "ledger.lock"


@contextmanager
def existing_ledger(out: Path) -> Iterator[tuple[Ledger, Bundle]]:
    """Open the ledger of a folder of reports that there are, alone, and the bundle that they are by.

    Raises:
        OutputError: There is none, or it is in use, damaged, or cannot be written.
    """
    if not out.is_dir() or not (_home(out) / LEDGER).exists():
        raise OutputError(f"{out} holds no ledger of cartcls: name a folder that --out was for")
    with _alone(out) as home, Ledger(home / LEDGER) as ledger:
        if (bundle := ledger.bundle()) is None:
            raise OutputError(f"{out} holds no reports yet")
        yield ledger, bundle


@contextmanager
def open_ledger(out: Path, bundle: Bundle, fresh: bool = False) -> Iterator[Ledger]:
    """Open the ledger of a folder of reports, alone, for one bundle.

    Args:
        out: Folder of reports; made where it is missing.
        bundle: What will classify.
        fresh: Whether to begin anew; what is there is moved to a folder `before-TIME` in it.

    Raises:
        OutputError: It is in use, by another bundle, damaged, or cannot be written.
    """
    with _alone(out) as home:
        if fresh:
            _set_aside(out, home)
        with Ledger(home / LEDGER) as ledger:
            ledger.bind(bundle)
            yield ledger


@contextmanager
def _alone(out: Path) -> Iterator[Path]:
    """Lock a folder of reports; yields the folder of its ledger."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        home = _home(out)
        lock = filelock.FileLock(home / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise OutputError(f"{out} is in use by another cartcls: wait for it, or choose another --out") from None
    try:
        yield home
    finally:
        lock.release()


def _home(out: Path) -> Path:
    """Folder of the ledger: that of the reports, else, where they are on a network share, one of this machine."""
    if not is_network(file_system(out)):
        return out
    home = platformdirs.user_state_path("cartcls") / hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:16]
    home.mkdir(parents=True, exist_ok=True)
    return home


def _set_aside(out: Path, home: Path) -> None:
    if not (home / LEDGER).exists():
        return
    with Ledger(home / LEDGER) as ledger:
        reports = [out / found.slide.name for found in ledger.slides()]
    before = out / f"before-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
    before.mkdir()
    for path in [*reports, *home.glob(f"{LEDGER}*")]:
        if path.exists():
            path.rename(before / path.name)
