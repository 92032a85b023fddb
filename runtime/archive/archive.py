"""The run of an archive: which slides are to be done, and their rows into the table as they come."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import pyarrow
import ray
import ray.data
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayError, RayTaskError

from ..bundle.bundle import Bundle
from ..errors import BackendError, CartclsError, InterruptedRun, OutputError, SlideError
from ..files import writing
from ..ledger.records import Run, now
from .cluster import Shares, cluster, nodes, share
from .places import Slide, find_slides
from .rows import SlideRows, finished
from .stages import MAX_TRIES, TASK, Answer, Job, Listing, Model, Task, list_slides, packed, read_slides, unpacked
from .table import SlideFacts, facts_of, open_table, write_slide

LISTED_AT_ONCE = 64  # slides of a task
BLOCK = 8 << 20  # bytes that pass at once: less than a chunk of crops, so that each passes by itself
TASKS_OF_A_PROCESS = 1000  # that reads; then another one is started
CPU_ONLY = "openvino"
AWAY = 8  # slides of stores that fail one after the other: each may be waited for minutes

Progress = Callable[[int, int], None]
Notify = Callable[[str], None]


@dataclass
class Archived:
    """What a run did.

    Attributes:
        slides: How many there are.
        written: How many were classified and written by this run.
        unchanged: How many were in the table, as they are.
        images: How many images the written ones have.
        status: Rows of the written ones, by status.
        alarms: How many of the written ones are unlike home.
        seconds: From the start of the first task to the last row, with the loading of the model.
        rejected: Images without a label, of all slides that are in the table.
        failed: Why slides are not in the table as they are now, by their place.
    """

    slides: int = 0
    written: int = 0
    unchanged: int = 0
    images: int = 0
    status: Counter[str] = field(default_factory=Counter)
    alarms: int = 0
    seconds: float = 0.0
    rejected: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def archive(
    sources: Sequence[str],
    table: Path,
    bundle: Bundle,
    backend: str = "auto",
    address: str | None = None,
    workers: int | None = None,
    features: bool = False,
    progress: Progress = lambda done, count: None,
    notify: Notify = lambda line: None,
) -> Archived:
    """Classify the slides that are not in a table as they are now, on one machine or a cluster.

    Args:
        sources: Folders, or URIs that `pyarrow.fs` knows; each folder of images in them is a slide.
        table: Folder of the table.
        bundle: The model; its folder is the same on all machines.
        backend: Name of what runs it.
        address: Of a Ray cluster; None to start Ray on this machine, and to stop it.
        workers: How many processes run the model; None for one per GPU, or one per machine where there is none.
        features: Whether the rows have the features of the model.
        progress: Called with the number of images done, and of all that are to be done.
        notify: Called with messages for the user.

    Raises:
        SlideError: A source cannot be reached, or is no folder; or a store no longer answers.
        OutputError: The table cannot be written, or is another bundle's.
        BackendError: The cluster, or the backend, cannot be used.
        BundleError: The bundle is not the same on all machines.
        InterruptedRun: A person stopped it.
    """
    with open_table(table, bundle, features):
        slides = list({slide.place: slide for source in sources for slide in find_slides(source, table)}.values())
        if not slides:
            raise OutputError(f"{', '.join(sources)}: no folder with images: name a folder of slides")
        job = _job(bundle, backend, features)
        work = _Work(table, bundle, job, slides, progress, notify)
        try:
            with cluster(address):
                shares = share(nodes(), workers, gpu=backend != CPU_ONLY)
                if shares.warning:
                    notify(shares.warning)
                work.run(shares)
        except KeyboardInterrupt:
            done = work.archived.written + work.archived.unchanged
            raise InterruptedRun(f"{done} of {len(slides)} slides are done; the same command goes on") from None
        except ExecutionTimeoutError:
            raise BackendError("the cluster did nothing for half an hour: look at `ray status`") from None
        except RayError as error:
            if isinstance(error, RayTaskError):
                raise  # a fault of cartcls
            raise BackendError(f"the cluster failed: {str(error).strip().splitlines()[0]}") from None
    return work.archived


def _job(bundle: Bundle, backend: str, features: bool) -> Job:
    folder, size = bundle.directory.resolve(), (bundle.width, bundle.height)
    return Job(folder, bundle.sha256, backend, version("cartcls"), features, *size, bundle.adjustment)


class _Work:
    """The slides of a run."""

    def __init__(
        self, table: Path, bundle: Bundle, job: Job, slides: Sequence[Slide], progress: Progress, notify: Notify
    ):
        self._table, self._bundle, self._job, self._slides = table, bundle, job, slides
        self._progress, self._notify = progress, notify
        self._run = Run("", "", "", "", "", job.version, now())
        self._rows: dict[int, SlideRows] = {}
        self._done = self._count = self._failed_in_a_row = 0
        self.archived = Archived(slides=len(slides))

    def run(self, shares: Shares) -> None:
        """Do what is to be done; each slide is in the table once it is complete."""
        tasks = list(self._to_be_done(shares))
        self._count = sum(task.listing.images for task in tasks)
        self._rows = {task.number: SlideRows(task.listing.images) for task in tasks}
        self._progress(0, self._count)
        by_number = {task.number: task for task in tasks}
        started = time.monotonic()
        if tasks:
            for answer in _answers(tasks, self._job, shares):
                self._take(by_number[answer.task], answer)
                self.archived.seconds = time.monotonic() - started

    def _to_be_done(self, shares: Shares) -> Iterator[Task]:
        """Slides that are missing in the table, or whose files have changed."""
        for number, (slide, listing) in enumerate(_listed(self._slides, shares)):
            if isinstance(listing, CartclsError):
                self._fail(slide, str(listing))
                continue
            self._failed_in_a_row = 0
            facts = facts_of(self._table / slide.file)
            if facts is None or facts.unsettled or facts.files != listing.digest:
                if listing.images:
                    yield Task(number, slide, listing)
                else:
                    self.archived.slides -= 1
                continue
            self.archived.unchanged += 1
            self.archived.rejected += facts.rejected

    def _take(self, task: Task, answer: Answer) -> None:
        """Take some rows of a slide; the last ones complete it."""
        rows = self._rows.get(answer.task)
        if answer.error and answer.of_all:
            raise answer.error
        if rows is None:
            return
        if answer.error:
            del self._rows[answer.task]
            self._fail(task.slide, str(answer.error))
            return
        self._failed_in_a_row = 0
        self._done += rows.add(answer)
        self._progress(self._done, self._count)
        if rows.is_complete:
            del self._rows[answer.task]
            self._finish(task, rows)

    def _finish(self, task: Task, rows: SlideRows) -> None:
        slide, archived = task.slide, self.archived
        if rows.unsettled == rows.expected:
            reason = next(cell.reason for answer in rows.in_order for cell in answer.cells)
            self._fail(slide, f"no file of it can be read: the first one {reason}")
            return
        run = Run(slide.name, slide.source, "", "", "", self._job.version, self._run.started_at)
        made = finished(rows, self._bundle, run)
        status = Counter(cell.present_status for cell in made.cells)
        facts = SlideFacts(
            slide=run.slide,
            source=run.source,
            files=task.listing.digest,
            images=rows.expected,
            unsettled=rows.unsettled,
            rejected=status["rejected"],
            alarm=made.alarm,
            bundle=self._bundle.name,
            bundle_sha256=self._bundle.sha256,
            version=run.version,
            started_at=run.started_at,
        )
        with writing(self._table / slide.file, then="the same command goes on once it can"):
            write_slide(self._table / slide.file, self._bundle, facts, made.lines, made.features)
        archived.written += 1
        archived.images += rows.expected
        archived.status += status
        archived.alarms += bool(made.alarm)
        archived.rejected += status["rejected"]

    def _fail(self, slide: Slide, reason: str) -> None:
        self.archived.failed[slide.source] = reason
        self._failed_in_a_row += bool(slide.uri)
        self._notify(f"not in the table: {reason if slide.source in reason else f'{slide.source}: {reason}'}")
        if self._failed_in_a_row >= AWAY:
            raise SlideError(f"{AWAY} slides in a row could not be read: the same command goes on once they can")


def _listed(slides: Sequence[Slide], shares: Shares) -> Iterator[tuple[Slide, Listing | SlideError]]:
    """Slides with what their folders list, in their order."""
    listing = ray.remote(num_cpus=shares.reader, max_retries=MAX_TRIES)(list_slides)
    left = iter(slides)
    groups = iter(lambda: list(islice(left, LISTED_AT_ONCE)), [])
    for group, found in [(group, listing.remote(group)) for group in groups]:
        yield from zip(group, ray.get(found), strict=True)


def _answers(tasks: Sequence[Task], job: Job, shares: Shares) -> Iterator[Answer]:
    """Rows as they come, in any order."""
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = BLOCK
    parts = [replace(task, first=first) for task in tasks for first in range(0, task.listing.images, TASK)]
    crops = ray.data.from_blocks(list(map(packed, parts))).map_batches(
        partial(read_slides, job=job),
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        num_cpus=shares.reader,
        max_calls=TASKS_OF_A_PROCESS,  # Ray would read in the model's own process, did both ask for the same
    )
    answers = crops.map_batches(
        Model,
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        fn_constructor_kwargs={"job": job},
        compute=ray.data.ActorPoolStrategy(size=min(shares.workers, len(parts))),
        num_cpus=shares.cpus,
        num_gpus=shares.gpus or None,
    )
    for block in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
        assert isinstance(block, pyarrow.Table)
        for answer in unpacked(block):
            assert isinstance(answer, Answer)
            yield answer
