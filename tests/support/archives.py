"""What a table of an archive says, beside the reports of `cartcls batch` on the same slides."""

import csv
import hashlib
from collections import Counter
from datetime import datetime
from pathlib import Path

import pyarrow
import pyarrow.parquet

from cartcls.runtime.archive.table import parquet_files

NOT_COMPARED = ("thumbnail", "analysed_at")  # an archive has no pictures; the time is another one

Row = dict[str, str]


def printed(value: object, name: str) -> str:
    """A value of a table as `cells.csv` prints it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.4f}" if name in ("scale", "mpp") else f"{value:.6f}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(value)


def rows_of(table: Path) -> list[Row]:
    """Rows of a table, printed."""
    files = [pyarrow.parquet.read_table(file) for file in parquet_files(table)]
    return [{name: printed(value, name) for name, value in row.items()} for file in files for row in file.to_pylist()]


def differences(table: Path, reports: Path) -> list[str]:
    """Where the rows of a table are not those of reports."""
    expected: dict[tuple[str, str], Row] = {}
    for file in sorted(reports.glob("*/cells.csv")):
        with file.open(newline="", encoding="utf-8-sig") as handle:
            expected |= {(row["slide"], row["path"]): row for row in csv.DictReader(handle)}
    found = rows_of(table)
    counts = Counter((row["slide"], row["path"]) for row in found)
    wrong = [f"{key} is there {counts[key]} times" for key in counts.keys() | expected if counts[key] != 1]
    for row in found:
        if other := expected.get((row["slide"], row["path"])):
            names = [name for name in other if name not in NOT_COMPARED and row[name] != other[name]]
            wrong += [f"{row['slide']}/{row['path']}: {name} {row[name]}, not {other[name]}" for name in names]
    return wrong


def problems(table: Path, slides: Path) -> list[str]:
    """What of the images in slides is lost, doubled, or not as its bytes are."""
    there = {(file.parent.name, file.name): file for file in slides.glob("*/*.jpg")}
    rows = rows_of(table)
    counts = Counter((row["slide"], row["path"]) for row in rows)
    found = [f"{key} is there {counts[key]} times" for key in there.keys() | counts.keys() if counts[key] != 1]
    for row in rows:
        file = there.get((row["slide"], row["path"]))
        if file and row["sha256"] != hashlib.sha256(file.read_bytes()).hexdigest():
            found.append(f"{file} has the wrong bytes")
        if row["status"] == "rejected":
            found.append(f"{file} is rejected: {row['reason']}")
    return found
