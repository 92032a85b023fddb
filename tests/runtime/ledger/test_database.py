import errno
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cartcls.runtime.errors import OutputError
from cartcls.runtime.ledger import database as databases
from cartcls.runtime.ledger.database import Database

ADD, COUNT = "INSERT INTO bundle VALUES (?, ?)", "SELECT count(*) FROM bundle"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def database(file: Path) -> Iterator[Database]:
    opened = Database(file)
    yield opened
    opened.close()


def test_what_was_written_is_there_when_it_is_opened_again(file: Path):
    first = Database(file)
    assert first.number("SELECT max(seq) FROM cells") == 0
    first.execute_each(ADD, [("a", "1"), ("b", "2")])
    first.close()
    again = Database(file)
    assert again.number("SELECT max(manifest) FROM bundle WHERE sha256 IN (?, ?)", "a", "b") == 2
    again.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_ends_a_transaction_in_the_middle_undoes_all_of_it(database: Database, error: type[BaseException]):
    with pytest.raises(error), database.transaction():
        database.execute(ADD, ("a", "1"))
        raise error
    assert database.number(COUNT) == 0
    database.execute_each(ADD, [("b", "2")])
    assert database.number(COUNT) == 1


def test_one_row_that_does_not_fit_undoes_those_before_it(database: Database):
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        database.execute_each(ADD, [("a", "1"), (None, "2")])
    assert database.number(COUNT) == 0


def test_a_full_disk_is_told_and_nothing_was_changed(database: Database):
    database.execute(f"PRAGMA max_page_count = {database.number('PRAGMA page_count') + 1}")
    with pytest.raises(OSError, match="database or disk is full") as raised:
        database.execute_each(ADD, [("a", "x" * 4000)] * 10)
    assert raised.value.errno == errno.ENOSPC
    assert database.number(COUNT) == 0
    database.execute("PRAGMA max_page_count = 1000000")
    database.execute_each(ADD, [("a", "x" * 4000)] * 10)
    assert database.number(COUNT) == 10


def test_a_disk_that_fails_is_not_taken_for_a_full_one(database: Database, monkeypatch: pytest.MonkeyPatch):
    class Failing:
        in_transaction = False

        def execute(self, statement: str) -> None:
            raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(database, "_connection", Failing())
        with pytest.raises(OSError, match=re.escape("(disk I/O error)")) as raised, database.transaction():
            pass
    assert raised.value.errno == errno.EIO


def test_it_is_as_durable_as_sqlite_can_be(database: Database):
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_what_cannot_be_a_ledger_is_a_clear_error(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_bytes(b"junk" * 1000)
    with pytest.raises(OutputError, match=r"cannot be used .* move it away"):
        Database(file)
    with pytest.raises(OutputError, match="unable to open"):
        Database(tmp_path / "none" / "ledger.sqlite")
    file.unlink()
    Database(file).close()
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(OutputError, match="another version"):
        Database(file)
    monkeypatch.setattr(databases, "file_system", lambda folder: "cifs")
    with pytest.raises(OutputError, match=r"network share \(cifs\)"):
        Database(file)


def test_a_damaged_ledger_is_found_at_once(file: Path):
    database = Database(file)
    database.execute_each(ADD, (("a", f"{number}.jpg" * 20) for number in range(2000)))
    database.close()
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xff" * 4096
    file.write_bytes(data)
    with pytest.raises(OutputError, match=r"ledger\.sqlite (is damaged|cannot be used)"):
        Database(file)
