"""What `cartcls watch` shows: a live view on a terminal, else a line at each change."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..runtime.bundle.bundle import Bundle
from ..runtime.mounts import file_system, is_network
from ..runtime.reports.summary import Summary
from ..runtime.slides.watch import Watch
from .show import counted, counts, last_message, messages, notify

SLIDES_SHOWN = 12


def watched(capture_dir: Path, out: Path, bundle: Bundle) -> None:
    """Print what the model does not know, what is being watched, whether on a network share, and where reports go."""
    if sentence := bundle.manifest.unknown_cells:
        messages.print(sentence, markup=False, soft_wrap=True)
    kind = file_system(capture_dir)
    share = f", on a network share ({kind}): files must stay unchanged for longer" if is_network(kind) else ""
    messages.print(f"watching {capture_dir}{share}; reports in {out}", markup=False, soft_wrap=True)


@contextmanager
def watching(as_json: bool) -> Iterator[tuple[Callable[[Watch], None], Callable[[str], None]]]:
    """Live view of a watch, or plain lines if stderr is not a terminal.

    Yields:
        Functions to update it and to print a message.
    """
    printed: dict[str, Summary] = {}
    started, view = time.monotonic(), Live(console=messages, refresh_per_second=2, transient=True)

    def update(watch: Watch) -> None:
        for slide in watch.slides:
            name, summary = slide.work.ledger.slide.name, slide.summary
            if summary and printed.get(name) != summary:
                printed[name] = summary
                if as_json:
                    report = os.fspath(slide.work.directory)
                    typer.echo(json.dumps({**msgspec.to_builtins(summary), "report": report}))
                if not messages.is_terminal:
                    _print_counts(summary)
        if messages.is_terminal:
            view.update(_view(watch, time.monotonic() - started))

    if not messages.is_terminal:
        yield update, notify
        return
    with view:
        yield update, notify


def stopped(watch: Watch, out: Path) -> None:
    """Print that a person stopped the watch."""
    count = len(watch.slides)
    notify(f"stopped: {count} slide{'' if count == 1 else 's'}, reports in {out}")


def _print_counts(summary: Summary) -> None:
    waiting = f", {summary.waiting} waiting" if summary.waiting else ""
    notify(f"{summary.slide}: {counts(summary) or 'nothing yet'}{waiting}")
    for alarm in summary.warnings:
        notify(f"{summary.slide}: warning: {alarm}")


def _view(watch: Watch, seconds: float) -> Table:
    summaries = [slide.summary for slide in watch.slides if slide.summary]
    cells = sum(summary.images - summary.waiting for summary in summaries)
    found = f"{counted(len(summaries), 'slide')}, {counted(cells, 'cell')}"
    table = Table(
        title=f"{found}, {watch.waiting()} waiting, {watch.done / seconds:.1f} images/s",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        caption=Text(f"last message: {last_message[0]}") if last_message else None,
        caption_justify="left",
    )
    result = "finding" if any(summary.finding for summary in summaries) else "differential"
    for name in ("slide", "cells", "for review", "waiting", "rejected", result):
        table.add_column(name)
    for summary in summaries[-SLIDES_SHOWN:]:
        rows = sorted(summary.rows, key=lambda row: -row.count)
        shown = ", ".join(f"{row.count} {row.title}" for row in rows if row.count)
        status = summary.status
        labelled = status["ok"] + status["review"] + status["reviewed"]
        figures = (labelled, summary.awaiting_review, summary.waiting, status["rejected"])
        table.add_row(Text(summary.slide), *map(str, figures), Text(shown))
        for alarm in summary.warnings:
            table.add_row(Text("warning", style="yellow"), "", "", "", "", Text(alarm, style="yellow"))
    return table
