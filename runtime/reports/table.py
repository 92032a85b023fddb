"""A slide's CSV as a projection of the ledger: appended to, and mended where it is not what the ledger says."""

import os
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from ..files import replace_file
from ..ledger.ledger import Ledger
from ..ledger.schema import Cursor, Slide

DAMAGED = ".damaged"


@dataclass(frozen=True)
class Difference:
    """One way in which a CSV is not what the ledger says.

    Attributes:
        line: Number of the line in the file, from 1; the header is line 1.
        problem: `edited`, `missing` or `added`.
        expected: The line as the ledger has it; empty where it was added.
    """

    line: int
    problem: str
    expected: str


def project(ledger: Ledger, slide: Slide, header: str, file: Path) -> Path | None:
    """Bring a slide's CSV up to the ledger.

    Rows that an interrupted run has appended already are kept. A file that is not what the ledger says is moved aside,
    and written again.

    Args:
        ledger: The ledger.
        slide: The slide.
        header: First line of the CSV.
        file: The CSV.

    Returns:
        Where a damaged file was moved, or None.

    Raises:
        OSError: The file cannot be written.
    """
    cursor = ledger.cursor(slide)
    pending = list(ledger.lines(slide, cursor.seq))
    if cursor.stale or (cursor.size == 0 and not file.exists()):
        rebuild(ledger, slide, header, file)
        return None
    expected = "".join(pending).encode()
    with file.open("r+b") if file.exists() else file.open("w+b") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(min(cursor.size, size))
        tail = handle.read()
        if size < cursor.size or not expected.startswith(tail):
            moved = file.with_name(f"{file.name}{DAMAGED}")
            file.replace(moved)
            rebuild(ledger, slide, header, file)
            return moved
        if not pending:
            return None
        handle.write(expected[len(tail) :])
        handle.flush()
        os.fsync(handle.fileno())
    ledger.move_cursor(slide, Cursor(ledger.next_seq(slide) - 1, cursor.size + len(expected), stale=False))
    return None


def rebuild(ledger: Ledger, slide: Slide, header: str, file: Path) -> None:
    """Write a slide's CSV again from the ledger, whatever it holds.

    Raises:
        OSError: The file cannot be written; it stays as it was.
    """
    data = (header + "".join(ledger.lines(slide))).encode()
    replace_file(file, data)
    ledger.move_cursor(slide, Cursor(ledger.next_seq(slide) - 1, len(data), stale=False))


def verify(ledger: Ledger, slide: Slide, header: str, file: Path) -> list[Difference]:
    """Compare a slide's CSV with the ledger, line by line."""
    expected = [header, *ledger.lines(slide)]
    found = file.read_bytes().decode("utf-8", "surrogateescape").splitlines(keepends=True) if file.exists() else []
    differences = []
    matcher = SequenceMatcher(None, expected, found, autojunk=False)
    for tag, start, end, found_start, found_end in matcher.get_opcodes():
        if tag == "equal":
            continue
        both = min(end - start, found_end - found_start)
        differences += [Difference(found_start + i + 1, "edited", expected[start + i]) for i in range(both)]
        differences += [Difference(found_start + both + 1, "missing", line) for line in expected[start + both : end]]
        differences += [Difference(number + 1, "added", "") for number in range(found_start + both, found_end)]
    return differences
