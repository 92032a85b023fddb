"""Patients or slides of labelled images, from a CSV file."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..runtime.errors import DataError


def read_groups(file: Path, paths: Sequence[str]) -> dict[str, str]:
    """Read which patient or slide each image is of.

    Args:
        file: CSV with the columns `path` and `group`, `patient` or `slide`.
        paths: Images, `/`-separated.

    Returns:
        Group by path.

    Raises:
        DataError: The file cannot be read, or has no group for an image.
    """
    try:
        rows = read_csv(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
    columns = rows[0].keys() if rows else ()
    column = next((name for name in ("group", "patient", "slide") if name in columns), None)
    if column is None or "path" not in columns:
        raise DataError(f"{file}: needs the columns path and patient (or slide, or group)")
    present = set(paths)
    groups = {row["path"] if row["path"] in present else row["path"].replace("\\", "/"): row[column] for row in rows}
    if missing := sorted(path for path in paths if not groups.get(path)):
        raise DataError(f"{file}: no group for {len(missing)} image(s): {few(missing)}: add a line for each")
    return groups


def join_groups(groups: Mapping[str, str], first_of: Mapping[str, str]) -> dict[str, str]:
    """Make one group of those that have an image in common.

    Args:
        groups: Group by path.
        first_of: By path, the first path with the same bytes; see `cartcls.calibration.copies`.
    """
    joined_to = {group: group for group in groups.values()}

    def joined(group: str) -> str:
        while (other := joined_to[group]) != group:
            joined_to[group] = joined_to[other]  # shortens the way for the next search
            group = other
        return group

    for path, first in first_of.items():
        joined_to[joined(groups[path])] = joined(groups[first])
    return {path: joined(group) for path, group in groups.items()}


def read_csv(file: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file, by column.

    Raises:
        DataError: It is malformed, or has no commas between its columns.
        OSError: It cannot be opened.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            columns, rows = reader.fieldnames or [], []
            if len(columns) == 1 and (mark := next((mark for mark in ";\t" if mark in columns[0]), "")):
                raise DataError(f"{file}: its columns are separated by {mark!r}: save it with commas between them")
            for row in reader:
                if None in row or None in row.values():
                    count = len(reader.fieldnames or ())
                    raise DataError(f"{file}, line {reader.line_num}: give it {count} values, as the first line has")
                rows.append(row)
            return rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a CSV file in UTF-8: {error}") from None


def few(names: Sequence[str]) -> str:
    """The first five of some names, for a message."""
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
