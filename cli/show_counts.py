"""A slide's differential or finding on the terminal."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..runtime.reports.corrections import Corrected
    from ..runtime.reports.differential import Differential
    from ..runtime.reports.finding import Finding
    from ..runtime.reports.summary import Summary


def table_of(summary: "Summary") -> RenderableType:
    """The differential or the finding of a slide."""
    if summary.finding:
        return _finding(summary, summary.finding)
    assert summary.differential is not None
    return _differential(summary.slide, summary.differential)


def remarks(summary: "Summary") -> list[str]:
    """What must be known of the figures of `table_of`."""
    from ..runtime.reports.finding import MEANING

    warnings = [f"warning: {summary.few}"] if summary.few else []
    if summary.finding:
        return [*_against(summary.finding), *MEANING, *warnings]
    assert summary.differential is not None
    if not (summary.differential.errors_counted or summary.review_complete):
        warnings.insert(0, "warning: the intervals do not count the model's errors")
    return warnings


def before_and_after(done: "Corrected") -> Table:
    """A slide's counts before and after corrections; of a differential, shares too."""
    table = _table(done.after.slide, "class", "before", "after")
    differentials = [summary.differential for summary in (done.before, done.after) if summary.differential]
    shares = [
        {row.name: f"{row.percent:.1f} %" for row in found.rows if row.percent is not None} for found in differentials
    ]
    for name in ("share before", "share after")[: len(shares)]:
        table.add_column(name, justify="right")
    before = {row.name: row.count for row in done.before.rows}
    for row in done.after.rows:
        counts = (before.get(row.name, 0), row.count)
        table.add_row(Text(row.title), *map(str, counts), *(share.get(row.name, "") for share in shares))
    for label in sorted(done.before.others.keys() | done.after.others.keys()):
        table.add_row(Text(label), *(str(summary.others.get(label, 0)) for summary in (done.before, done.after)))
    table.add_row("not a cell", str(done.before.not_a_cell), str(done.after.not_a_cell))
    table.add_row("awaits review", str(done.before.awaiting_review), str(done.after.awaiting_review))
    return table


def _table(slide: str, *columns: str) -> Table:
    table = Table(
        title=Text(slide) if slide else None, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False
    )
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    return table


def _differential(slide: str, found: "Differential") -> Table:
    estimated = found.errors_counted
    columns = ("counted", "expected", "share", "95 % interval") if estimated else ("cells", "share", "95 % interval")
    table = _table(slide, "class", *columns)
    for row in found.rows:
        share = interval = ""
        if row.interval is not None:
            interval = f"{row.interval[0]:.1f} to {row.interval[1]:.1f}{' %' if row.percent is not None else ''}"
        if row.percent is not None:
            share = f"{row.percent:.1f} %"
        elif row.per_100_leukocytes is not None:
            share = f"{row.per_100_leukocytes:.1f}/100 leukocytes"
        expected = " to ".join(map(str, dict.fromkeys(row.expected or ())))
        table.add_row(Text(row.title), str(row.count), *([expected] if estimated else []), share, interval)
    return table


def _finding(summary: "Summary", found: "Finding") -> Group:
    """The finding, and the count of each label, with and without proposals."""
    without = summary.finding_without_proposals
    columns = ("cells", "without proposals") if without else ("cells",)
    table = _table("", "label", *columns)
    settled = {row.name: row.count for row in without.rows} | summary.others if without else {}
    rows = [(row.name, row.title, row.count) for row in found.rows]
    rows += [(label, label, count) for label, count in summary.others.items()]
    for name, title, count in rows:
        table.add_row(Text(title), str(count), *([str(settled.get(name, 0))] if without else []))
    return Group(Text(f"{summary.slide}: {found.sentence}", no_wrap=True, overflow="ignore"), table)


def _against(found: "Finding") -> list[str]:
    if not found.against:
        return []
    cells = "1 cell speaks" if found.against == 1 else f"{found.against} cells speak"
    more = ", …" if len(found.shown) < found.against else ""
    return [f"{cells} against it: no. {', '.join(map(str, found.shown))}{more}"]
