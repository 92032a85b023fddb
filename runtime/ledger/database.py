"""The SQLite file behind a ledger: a committed transaction is on the disk."""

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError
from ..mounts import file_system, is_network
from .schema import HAND_OVERS, SCHEMA, TABLES

Value = str | bytes | int | float | None


class Database:
    """An open file. One process writes.

    A transaction raises OSError where the disk is full (ENOSPC) or fails (EIO); it has then changed nothing.
    """

    def __init__(self, file: Path):
        """Open the file of a ledger, or make a new one.

        Raises:
            OutputError: It is on a network share, damaged, of another version, or cannot be written.
        """
        kind = file_system(file.parent)
        if is_network(kind):
            raise OutputError(f"{file.parent} is on a network share ({kind}): the ledger needs a disk of this machine")
        try:
            self._connection = sqlite3.connect(file, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._prepare(file)
        except sqlite3.Error as error:
            raise OutputError(f"{file} cannot be used ({error}): move it away to start a new one") from None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def execute(self, statement: str, values: Iterable[Value] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._connection.execute(statement, tuple(values))

    def execute_each(self, statement: str, rows: Iterable[tuple[Value, ...]]) -> None:
        """Run one statement for each row of values, in one transaction."""
        with self.transaction():
            self._connection.executemany(statement, rows)

    def number(self, query: str, *values: Value) -> int:
        """The one number that a query gives; 0 where it gives none."""
        (found,) = self.execute(query, values).fetchone()
        return int(found or 0)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction: all statements in it take effect, or none."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:  # where the disk is full, SQLite may have rolled back already
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                number = errno.ENOSPC if "full" in str(error) else errno.EIO
                raise OSError(number, f"{os.strerror(number)} ({error})") from None
            raise

    def _prepare(self, file: Path) -> None:
        (health,) = self.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise OutputError(f"{file} is damaged ({health}): move it away, and the images are classified again")
        version = self.number("PRAGMA user_version")
        if version == 0:
            self._connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
        elif version != SCHEMA:
            raise OutputError(f"{file} is of another version of cartcls: move it away to start a new one")
        self._connection.execute(HAND_OVERS)
