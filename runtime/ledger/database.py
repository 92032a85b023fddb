"""The SQLite file behind a ledger: a committed transaction is on the disk."""

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError
from ..mounts import file_system, is_network
from .schema import SCHEMA, TABLES

PATIENCE = 30.0  # seconds that a process waits for another one that writes
READS = {sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_TRANSACTION}
OF_REVIEWS = ("corrections", "signatures", "typed_facts", "hand_overs")

Value = str | bytes | int | float | None


class Database:
    """An open file. One process writes rows; others insert corrections, signatures and typed facts.

    A transaction raises OSError where the disk is full (ENOSPC), fails (EIO), or another process writes for longer than
    `PATIENCE` (EBUSY); it has then changed nothing.

    Attributes:
        reviews_only: Whether nothing but the rows of `OF_REVIEWS` can be inserted.
    """

    def __init__(self, file: Path, reviews_only: bool = False):
        """Open the file of a ledger, or make a new one.

        Args:
            file: The file.
            reviews_only: Whether nothing but the rows of `OF_REVIEWS` is to be inserted, and nothing else written:
                SQLite refuses it. Several threads may then use it, one at a time.

        Raises:
            OutputError: It is on a network share, damaged, of another version, or cannot be written.
        """
        self.reviews_only = reviews_only
        kind = file_system(file.parent)
        if is_network(kind):
            raise OutputError(f"{file.parent} is on a network share ({kind}): the ledger needs a disk of this machine")
        try:
            self._connection = sqlite3.connect(
                file, timeout=PATIENCE, isolation_level=None, check_same_thread=not reviews_only
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._prepare(file)
            if reviews_only:
                self._connection.set_authorizer(_may_review)
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
                known = {"full": errno.ENOSPC, "locked": errno.EBUSY}
                number = next((known[word] for word in known if word in str(error)), errno.EIO)
                raise OSError(number, f"{os.strerror(number)} ({error})") from None
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read in it is of one time, whatever others write meanwhile."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    def changes(self) -> int:
        """A number that changes when another connection has written something."""
        return self.number("PRAGMA data_version")

    def _prepare(self, file: Path) -> None:
        (health,) = self.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise OutputError(f"{file} is damaged ({health}): move it away, and the images are classified again")
        version = self.number("PRAGMA user_version")
        if version == 0:
            self._connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
        elif version != SCHEMA:
            raise OutputError(f"{file} is of another version of cartcls: move it away to start a new one")


def _may_review(action: int, subject: str | None, *more: str | None) -> int:
    """What SQLite may do for a process that reviews: read, and insert into `OF_REVIEWS`."""
    if action == sqlite3.SQLITE_PRAGMA:
        return sqlite3.SQLITE_OK if subject == "data_version" else sqlite3.SQLITE_DENY
    inserts = action == sqlite3.SQLITE_INSERT and subject in OF_REVIEWS
    return sqlite3.SQLITE_OK if inserts or action in READS else sqlite3.SQLITE_DENY
