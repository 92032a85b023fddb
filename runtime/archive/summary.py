"""One row for each slide of a table: counts, differential with intervals, what a person must look at."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet

from ..bundle.bundle import Bundle
from ..errors import OutputError
from ..ledger.records import Cell, Run
from ..reports.slide_review import TOO_FEW
from ..reports.slide_state import SlideState
from ..reports.summary import STATUSES, Summary, summarize
from .table import SlideFacts, bundle_of, facts_of, parquet_files

COUNTED = ["label", "status", "reason"]


def summarize_table(table: Path, write: Callable[[str], object]) -> int:
    """Write one line of CSV for each slide of a table, and a header.

    Args:
        table: Its folder.
        write: Called with each line.

    Returns:
        How many slides there are.

    Raises:
        OutputError: There is no table, or one of its files is damaged.
    """
    bundle = bundle_of(table)
    files = parquet_files(table)
    lines = csv.writer(_Lines(write), lineterminator="\n")
    for number, row in enumerate(_rows(files, bundle)):
        if not number:
            lines.writerow(row)
        lines.writerow(row.values())
    return len(files)


class _Lines:
    """What `csv.writer` writes to."""

    def __init__(self, write: Callable[[str], object]):
        self.write = write


def _rows(files: Sequence[Path], bundle: Bundle) -> Iterator[dict[str, object]]:
    for file in files:
        facts = facts_of(file)
        if facts is None:
            raise OutputError(f"{file} is damaged: delete it, and run the same `cartcls archive` again")
        yield _row(facts, summarize(bundle, _run(facts), _cells(file), SlideState(alarm=facts.alarm)))


def _row(facts: SlideFacts, summary: Summary) -> dict[str, object]:
    row: dict[str, object] = {"slide": facts.slide, "source": facts.source, "images": facts.images}
    row |= {status: summary.status[status] for status in STATUSES if status not in ("reviewed", "gone", "empty")}
    row |= {"to_review": summary.awaiting_review, "alarm": summary.alarm, "promise": summary.promise}
    if summary.differential:
        row["leukocytes"] = summary.differential.leukocytes
        row["errors_counted"] = int(summary.differential.errors_counted)
        for entry in summary.differential.rows:
            per = entry.percent if entry.percent is not None else entry.per_100_leukocytes
            low, high = entry.interval or (None, None)
            kinds = {"nrbc": ("per_100",), "leukocyte": ("percent",)}.get(entry.kind, ())
            row[entry.name] = entry.count
            row |= {f"{entry.name}_{kind}": _shown(per) for kind in kinds}
            row |= {f"{entry.name}_{end}": _shown(value) for end, value in (("low", low), ("high", high)) if kinds}
    elif summary.finding:
        row["most"] = summary.finding.most
        row |= {entry.name: entry.count for entry in summary.finding.rows}
    row |= {"bundle": facts.bundle, "bundle_sha256": facts.bundle_sha256, "version": facts.version}
    return row | {"last_analysed_at": summary.last_analysed_at}


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cells(file: Path) -> list[Cell]:
    """Rows of a slide, as its counts need them: equal ones are one object."""
    try:
        rows = pyarrow.parquet.read_table(file, columns=[*COUNTED, "analysed_at"])
    except (OSError, pyarrow.ArrowException) as error:
        raise OutputError(f"{file} is damaged ({error}): delete it, and run `cartcls archive` again") from None
    columns = [rows[name].to_pylist() for name in COUNTED]
    kinds = Counter(
        (label, status, (reason or "").startswith(TOO_FEW)) for label, status, reason in zip(*columns, strict=True)
    )
    at = max(rows["analysed_at"].to_pylist()).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        cell
        for (label, status, few), count in kinds.items()
        for cell in [Cell(0, "", status, TOO_FEW * few, at, label=label)] * count
    ]


def _run(facts: SlideFacts) -> Run:
    return Run(facts.slide, facts.source, "", "", "", facts.version, facts.started_at)
