"""Atomic writes of files and folders."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import CartclsError, OutputError


@contextmanager
def whole_folder(directory: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it then replaces `directory` and everything in it.

    If filling it fails or is interrupted, `directory` stays as it was. A process that was killed during the
    replacement left the older folder under another name: the next call first moves it back.

    Raises:
        OSError: The folder cannot be made, filled or moved.
    """
    older = directory.with_name(f".old-{directory.name}")
    if older.exists() and not directory.exists():
        older.rename(directory)
    unfinished = directory.with_name(f".unfinished-{directory.name}-{os.getpid()}")
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


def replace_file(file: Path, data: bytes) -> None:
    """Write a file under a temporary name, and rename it once all of it is on the disk.

    Raises:
        OSError: It cannot be written; an older file of that name stays as it was.
    """
    unfinished = file.with_name(f".unfinished-{file.name}-{os.getpid()}")
    try:
        with unfinished.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        unfinished.replace(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
