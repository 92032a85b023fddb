"""Atomic writes of files and folders."""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .errors import CartclsError, OutputError

UNFINISHED = ".unfinished-"  # begins the name of what is being written; the number of its process ends it


@contextmanager
def whole_folder(directory: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it then replaces `directory` and everything in it.

    If filling it fails or is interrupted, `directory` stays as it was. A process that was killed during the
    replacement left the older folder under another name: the next call first moves it back.

    Raises:
        OSError: The folder cannot be made, filled or moved.
    """
    if os.path.ismount(directory):
        raise OSError(errno.EBUSY, "it is a mount point, which cannot be replaced: name a folder in it")
    older = directory.with_name(f".old-{directory.name}")
    if older.exists() and not directory.exists():
        older.rename(directory)
    sweep(directory.parent)
    unfinished = directory.with_name(f"{UNFINISHED}{directory.name}-{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        os.sync()  # the content must be on the disk before the rename
        shutil.rmtree(older, ignore_errors=True)
        try:
            if directory.exists():
                directory.rename(older)
            unfinished.rename(directory)
        except BaseException:
            if older.exists() and not directory.exists():
                older.rename(directory)
            raise
        shutil.rmtree(older, ignore_errors=True)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def writing(subject: object, kind: type[CartclsError] = OutputError, then: str = "") -> Iterator[None]:
    """Turn an OSError into "… cannot be written: …".

    Args:
        subject: What is written: a path or a description.
        kind: Class of the error that is raised instead.
        then: The consequence, or how to fix it.

    Raises:
        CartclsError: Of that kind.
    """
    try:
        yield
    except OSError as error:
        problem = f"{subject} cannot be written: {error.strerror or error}"
        raise kind(f"{problem}; {then}" if then else problem) from None


def why_away(path: Path) -> str:
    """Why a path cannot be looked at, such as one on a share that is down; empty where it can, or is missing."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return ""


def free_name(path: Path) -> Path:
    """The path, or the first of `path-2`, `path-3`, … that does not exist."""
    free, number = path, 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def sweep(*folders: Path, locked: bool = False) -> None:
    """Remove what killed processes left unfinished in folders.

    Args:
        *folders: They may be missing.
        locked: Whether a lock keeps all other processes from writing there. If not, only what processes left that are
            no longer running is removed.
    """
    for path in (path for folder in folders for path in folder.glob(f"{UNFINISHED}*")):
        process = path.name.rpartition("-")[2]
        if process.isdecimal() and (locked or not _is_running(int(process))):
            shutil.rmtree(path, ignore_errors=True)  # what cannot be removed is in nobody's way
            with suppress(OSError):
                path.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; or no process at all
        pass
    return True


def replace_file(file: Path, data: bytes) -> None:
    """Write a file under a temporary name, and rename it once all of it is on the disk.

    Raises:
        OSError: It cannot be written; an older file of that name stays as it was.
    """
    replace_files({file: data})


def replace_files(files: Mapping[Path, bytes]) -> None:
    """Replace several files as `replace_file` does one; the disk waits little longer for all than for one.

    Raises:
        OSError: One cannot be written; older files stay as they were, or some are replaced where renaming fails.
    """
    unfinished = {file: file.with_name(f"{UNFINISHED}{file.name}-{os.getpid()}") for file in files}
    try:
        with ExitStack() as opened:
            handles = [opened.enter_context(path.open("wb")) for path in unfinished.values()]
            for handle, data in zip(handles, files.values(), strict=True):
                handle.write(data)
                handle.flush()
            for handle in handles:
                os.fsync(handle.fileno())
        for file, path in unfinished.items():
            path.replace(file)
    except BaseException:
        for path in unfinished.values():
            path.unlink(missing_ok=True)
        raise
