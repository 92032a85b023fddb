"""What was compiled on this machine, kept on the disk: loading a graph takes a fifth of the time of compiling it.

The name of a file says what it was compiled from, for and with, and it begins with the digest of what follows. One that
is incomplete, altered, or of another version is compiled again, never loaded.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import platformdirs

from .files import replace_file, sweep

GRAPHS = 6  # the 8-bit graph and its float32 one, of three bundles
SUFFIX = ".compiled"
DIGEST = hashlib.sha256().digest_size


class CompiledStore:
    """A folder of compiled files. Whatever is wrong with it, they are compiled anew."""

    def __init__(self, directory: Path, kept: int):
        """Use a folder, which may be missing, for so many files."""
        self._directory, self._kept = directory, kept

    def file(self, sha256: str, made_with: Sequence[object]) -> Path:
        """Where it lies once it is compiled, by the digest of its source and all that it was compiled for and with."""
        key = json.dumps([sha256, *made_with], sort_keys=True)
        return self._directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}{SUFFIX}"

    def load(self, file: Path, allocate: Callable[[int], memoryview]) -> memoryview | None:
        """Read what `save` wrote into memory of its size; None where there is nothing, or it is not whole."""
        try:
            with file.open("rb") as opened:
                digest = opened.read(DIGEST)
                compiled = allocate(os.fstat(opened.fileno()).st_size - len(digest))
                opened.readinto(compiled)
            os.utime(file)  # the one that was not used for the longest time goes first
        except OSError:
            return None
        return compiled if hashlib.sha256(compiled).digest() == digest else None

    def save(self, file: Path, compiled: bytes) -> None:
        """Keep a compiled file, and remove those that were not used for the longest time; a full disk keeps none."""
        with suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            sweep(self._directory)
            replace_file(file, hashlib.sha256(compiled).digest() + compiled)
            for old in sorted(self._directory.glob(f"*{SUFFIX}"), key=_used, reverse=True)[self._kept :]:
                old.unlink()


def user_store(kind: str, kept: int) -> CompiledStore:
    """The folder of a kind in the user's cache."""
    return CompiledStore(platformdirs.user_cache_path("cartcls") / kind, kept)


def graph_store() -> CompiledStore:
    """Where graphs are kept that were compiled for this CPU."""
    return user_store("openvino", GRAPHS)


def _used(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
