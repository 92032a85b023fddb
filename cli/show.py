"""What the commands show: progress and messages on stderr, results on stdout."""

import os
import shlex
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from .show_counts import before_and_after, remarks, table_of

if TYPE_CHECKING:
    from ..calibration.evaluate import Evaluation
    from ..export.engine import EngineExport
    from ..export.parity import ParityReport
    from ..runtime.bundle.bundle import Bundle
    from ..runtime.doctor import Finding
    from ..runtime.inference.backend import Backend
    from ..runtime.reports.corrections import Corrected
    from ..runtime.reports.export_reviewed import Exported
    from ..runtime.reports.rebuild import Verified
    from ..runtime.reports.summary import Summary

messages = Console(stderr=True, highlight=False)
results = Console(highlight=False)
last_message: deque[str] = deque(maxlen=1)  # shown in the live view of a watch


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed, unit = task.finished_speed or task.speed, task.fields["unit"]
        return Text(f"{speed:.{int(unit == 'fields')}f} {unit}/s" if speed else "")


class ShowProgress(Protocol):
    """Shows how much of a slide, or of a folder, is done."""

    def __call__(self, done: int, total: int, cells: int | None = None) -> None:
        """Show how many images are done, of how many, and how many cells were found in them."""
        ...


def started(bundle: "Bundle", backend: "Backend") -> None:
    """Print the model and the backend."""
    line = f"{bundle.name} on {backend.device} ({backend.name}, {backend.precision})"
    messages.print(line, markup=False, soft_wrap=True)
    if bundle.adjustment:
        messages.print(f"for the model: {bundle.adjustment.sentence}", markup=False, soft_wrap=True)
    if bundle.problem:
        notify(f"warning: {bundle.problem}. Every cell is for review")
    record = bundle.manifest.calibration
    made_on = (record.backend, record.precision) if record and not bundle.problem else None
    if made_on and made_on != (backend.name, backend.precision):
        notify(f"it was calibrated on {', '.join(made_on)}: its guarantee was not measured on this backend")


def notify(line: str) -> None:
    """Print a message for the user."""
    last_message.append(line)
    messages.print(line, markup=False, soft_wrap=True)


@contextmanager
def engine_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Progress of an engine's build, which takes minutes; yields a function to call with phase, step and steps."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        console=messages,
        transient=True,
    )
    tasks: dict[str, TaskID] = {}

    def update(phase: str, step: int, steps: int) -> None:
        if phase not in tasks:
            bar.start()
            tasks[phase] = bar.add_task(phase, total=steps)
        bar.update(tasks[phase], completed=step, total=steps, visible=step < steps)

    try:
        yield update
    finally:
        if tasks:
            bar.stop()


@contextmanager
def progress(slide: str, fields: bool = False) -> Iterator[ShowProgress]:
    """Progress bar for one slide of crops, or of whole fields; yields a function to call."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), _Rate())
    with Progress(
        *columns, TimeRemainingColumn(), console=messages, transient=True, disable=not messages.is_terminal
    ) as bar:
        task = bar.add_task(slide, total=None, unit="fields" if fields else "images")

        def show(done: int, total: int, cells: int | None = None) -> None:
            found = f": {counted(cells, 'cell')}" if fields and cells is not None else ""
            bar.update(task, description=f"{slide}{found}", completed=done, total=total)

        yield show


def counts(summary: "Summary") -> str:
    """How many images of a slide have each status."""
    there = ", ".join(f"{count} {name}" for name, count in summary.status.items() if count and name != "gone")
    gone = f"gone from the folder: {summary.status['gone']}" if summary.status["gone"] else ""
    return "; ".join(filter(None, (there, gone)))


def _images(summary: "Summary") -> str:
    """How many images a slide has; of whole fields, with the cells that were found."""
    looked_at = f"{summary.images - summary.not_looked_at} of " if summary.not_looked_at else ""
    if not summary.scale:
        return f"{looked_at}{counted(summary.images, 'image')}"
    cells = sum(summary.status[name] for name in ("ok", "review", "reviewed"))
    return f"{looked_at}{counted(summary.images, 'field')}, {counted(cells, 'cell')}"


def counted(number: int, thing: str) -> str:
    """Such as `1 field` and `2 fields`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _smudges(summary: "Summary") -> str:
    return f"; {counted(summary.smudges, 'smudge')} not counted" if summary.smudges else ""


def unknown_cells(bundle: "Bundle") -> None:
    """Print the bundle's own sentence on cells that none of its classes is for."""
    if sentence := bundle.manifest.unknown_cells:
        results.print(sentence, markup=False, soft_wrap=True)


def finished(directory: Path, summary: "Summary") -> None:
    """Print a slide's differential or finding and the path of its report; first what must be known before any count."""
    from ..runtime.reports.page import PAGE

    for warning in summary.warnings:
        results.print(f"warning: {warning}", markup=False, soft_wrap=True)
    results.print(table_of(summary))
    results.print(f"{_images(summary)}: {counts(summary) or 'none found'}{_smudges(summary)}", markup=False)
    if summary.scale:
        results.print(f"scale: {summary.scale}", markup=False, soft_wrap=True)
    if summary.awaiting_review:
        results.print(f"PRELIMINARY: cells that await review: {summary.awaiting_review}", markup=False)
    elif summary.review_complete:
        results.print("review complete: no cell awaits review", markup=False)
    if summary.status["ok"] and summary.calibration and summary.calibration.guaranteed_error is not None:
        error = f"at most {summary.calibration.guaranteed_error:.2%} of all cells are wrong and ok"
        results.print(
            f"{summary.promise}: {error}, where each class looks as in `calibrate`", markup=False, soft_wrap=True
        )
    for line in remarks(summary):
        results.print(line, markup=False, soft_wrap=True)
    results.print(os.fspath(directory / PAGE), markup=False, soft_wrap=True)


def verified(found: "list[Verified]") -> None:
    """Print where each table differs from the ledger, and which signatures hold."""
    for slide in found:
        verdict = f"{slide.rows} rows, {len(slide.differences) or 'no'} differences"
        results.print(f"{slide.file}: {verdict}", markup=False, soft_wrap=True)
        for difference in slide.differences:
            expected = f": the ledger has {difference.expected.rstrip()}" if difference.expected else ""
            results.print(f"  line {difference.line} {difference.problem}{expected}", markup=False, soft_wrap=True)
        for made in slide.signatures:
            holds = "void: the slide has changed since" if made.is_void else "holds"
            signed = f"  signed by {made.signer}, {made.signed_at}, {made.digest}: {holds}"
            results.print(signed, markup=False, soft_wrap=True)


def corrected(done: "Corrected") -> None:
    """Print a slide's counts before and after corrections, and the path of its report."""
    from ..runtime.reports.page import PAGE

    if done.moved:
        notify(f"the table was changed by another program: moved to {done.moved}, and rewritten")
    results.print(before_and_after(done))
    results.print(f"{counted(done.changed, 'label')} changed, {done.confirmed} confirmed", markup=False)
    if done.already:
        results.print(f"already applied: {counted(done.already, 'row')} of the file", markup=False)
    for number, reason in done.left_out.items():
        results.print(f"left out: no. {number}: {reason}", markup=False, soft_wrap=True)
    for warning in done.after.warnings:
        results.print(f"warning: {warning}", markup=False, soft_wrap=True)
    if done.after.review_complete:
        results.print("review complete: no cell awaits review", markup=False)
    results.print(os.fspath(done.directory / PAGE), markup=False, soft_wrap=True)


def reviewed(folder: Path, made: "Exported") -> None:
    """Print what an export contains, what is left out, and its path."""
    for path, reason in made.missing.items():
        messages.print(f"left out: {path}: {reason}", markup=False, soft_wrap=True)
    for slide in made.summary.slides:
        extent = "every counted cell was reviewed" if slide.reviewed == "all" else "only some cells were reviewed"
        results.print(f"{slide.slide}: {counted(slide.exported, 'cell')}, {extent}", markup=False, soft_wrap=True)
    results.print(os.fspath(folder), markup=False, soft_wrap=True)


def evaluated(page: Path, evaluation: "Evaluation") -> None:
    """Print the figures of an evaluation and the path of its page."""
    metrics = evaluation.metrics
    table = Table("class", box=None, padding=(0, 2, 0, 0))
    for name in ("cells", "sensitivity", "precision", "F1"):
        table.add_column(name, justify="right")
    for name, row in metrics.per_class.items():
        figures = ((row.sensitivity, ".1%"), (row.precision, ".1%"), (row.f1, ".4f"))
        table.add_row(
            Text(name), str(row.count), *("" if value is None else f"{value:{form}}" for value, form in figures)
        )
    results.print(table)
    low, high = metrics.top1_interval
    line = f"{metrics.correct} of {metrics.count} right ({evaluation.part}): {metrics.top1:.2%}, 95 % interval"
    line += f" {low:.2%} to {high:.2%}"
    if metrics.macro_f1 is not None:
        line += f"; macro F1 {metrics.macro_f1:.4f}, weighted F1 {metrics.weighted_f1:.4f}"
    results.print(line, markup=False, soft_wrap=True)
    if metrics.macro_f1 is None:
        results.print("all cells are of one class: precision and F1 need cells of others", markup=False)
    if evaluation.unreadable:
        results.print(f"warning: {counted(len(evaluation.unreadable), 'image')} could not be read", markup=False)
    results.print(os.fspath(page), markup=False, soft_wrap=True)


def engine_exported(made: "EngineExport") -> None:
    """Print an engine, its parity, and its path."""
    record, check = made.engine.record, made.check
    built_for = f"{record.gpu}, {record.compute_capability}" if record.gpu else f"any {record.compute_capability}"
    share = f"{made.engine.half_share:.0%} of the layers are typed half precision in the graph"
    if made.half_share is not None:
        share = f"{made.half_share:.0%} of the engine's layers run in half precision"
    lines = [
        f"{record.library} {record.version} engine ({record.precision}) for {built_for}:"
        f" {len(made.engine.data) / 1e6:.0f} MB in {made.seconds:.1f} s; {share}",
        f"{check.runner}: |Δp| {check.max_probability_difference:.5f} (limit {check.limit}),"
        f" {check.correct} of {check.count} right (PyTorch {check.reference_correct})",
        os.fspath(made.engine.file),
    ]
    results.print("\n".join(lines), markup=False, soft_wrap=True)


def exported(out: Path, parity: "ParityReport") -> None:
    """Print the parity of an export, how each class is counted, and the path of the bundle."""
    from ..export.model_card import stopped_at
    from ..runtime.bundle.bundle import load_bundle

    table = Table("graph", "runs on", "|Δp|", "limit", "|Δlogit|", "right", "", box=None, padding=(0, 2, 0, 0))
    for check in parity.checks:
        differences = (f"{value:.5f}" for value in (check.max_probability_difference, check.limit))
        right = f"{check.correct} of {check.count}"
        verdict = "" if check.passed else "not used: differs too much"
        table.add_row(check.graph, check.runner, *differences, f"{check.max_logit_difference:.5f}", right, verdict)
    results.print(table)
    bundle = load_bundle(out)
    for entry in bundle.classes:
        always = ", and each is for review" if entry.always_review else ""
        messages.print(f"{entry.name} is counted as {entry.kind}{always}", markup=False)
    source = bundle.manifest.source
    trainings = [(source.epochs, source), *((member.epochs, member.provenance) for member in source.members)]
    if any(stopped_at(*training) for training in trainings):
        notify(
            f"warning: the training was stopped before its last image size: the bundle is for the size of its weights,"
            f" {bundle.width}x{bundle.height}. Or finish it with `cartcls train fit … --resume`, and export again"
        )
    if not bundle.calibrated:
        calibrate = f"cartcls calibrate {shlex.quote(os.fspath(out))} LABELLED_DIR --split SPLIT"
        notify(f"{bundle.problem} yet: every cell will be for review; next: {calibrate}")
    results.print(os.fspath(out), markup=False, soft_wrap=True)


def findings(found: "list[Finding]") -> None:
    """Print the checks of the machine."""
    colors = {"ok": "green", "note": "dim", "warning": "yellow", "failure": "red"}
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for finding in found:
        text = Text(finding.text)
        if finding.remedy:
            text.append(f"\n→ {finding.remedy}", style="bold")
        table.add_row(Text(finding.level, style=colors[finding.level]), finding.subject, text)
    results.print(table)
