import shutil
import threading
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pyarrow.fs
import pytest

from cartcls.runtime.archive import places, stages
from cartcls.runtime.archive.places import File, Slide
from cartcls.runtime.archive.rows import SlideRows, finished
from cartcls.runtime.archive.stages import Answer, Job, Listing, Model, Task, list_slides, packed, read_slides, unpacked
from cartcls.runtime.bundle.bundle import SHIPPED, Bundle
from cartcls.runtime.errors import BundleError, IncompleteError, SlideError
from cartcls.runtime.images.decode import RawFile
from cartcls.runtime.ledger.records import Cell, Run

RUN = Run("17", "/17", "", "", "", "0.1.0", "2026-01-01T00:00:00Z")


@pytest.fixture
def seventeen(tmp_path: Path, slide: Path) -> Slide:
    """A slide of three cells."""
    (tmp_path / "17").mkdir()
    for number in (1, 2, 3):
        shutil.copy(slide / f"cell-0{number}.jpg", tmp_path / "17")
    return Slide(str(tmp_path / "17"))


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Says how often a task was tried before."""

    def set_to(times: int) -> None:
        worker = SimpleNamespace(core_worker=SimpleNamespace(get_current_task_attempt_number=lambda: times))
        monkeypatch.setattr(stages, "global_worker", worker)

    set_to(0)
    return set_to


def job(bundle: Bundle) -> Job:
    return Job(SHIPPED, bundle.sha256, "openvino", "0.1.0", False, bundle.width, bundle.height, None)


def read(task: Task, bundle: Bundle) -> list[stages._Chunk]:
    chunks = [chunk for table in read_slides(packed(task), job(bundle)) for chunk in unpacked(table)]
    return [chunk for chunk in chunks if isinstance(chunk, stages._Chunk)]


def listing_of(slide: Slide) -> Listing:
    (listing,) = list_slides([slide])
    assert isinstance(listing, Listing)
    return listing


def test_a_slide_is_read_in_chunks_from_where_its_task_begins(
    seventeen: Slide, bundle: Bundle, tried: object, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stages, "CHUNK", 1)
    monkeypatch.setattr(stages, "TASK", 2)
    task = Task(5, seventeen, listing_of(seventeen))
    first, second = read(task, bundle), read(replace(task, first=2), bundle)
    assert [(chunk.task, chunk.first, len(chunk.readings)) for chunk in (*first, *second)] == [
        (5, 0, 1), (5, 1, 1), (5, 2, 1),
    ]  # fmt: skip
    assert [file.name for chunk in (*first, *second) for file in chunk.files] == [
        b"cell-01.jpg", b"cell-02.jpg", b"cell-03.jpg",
    ]  # fmt: skip


def test_a_slide_that_changed_since_it_was_listed_is_not_read(seventeen: Slide, bundle: Bundle, tried: object):
    task = Task(0, seventeen, listing_of(seventeen))
    (Path(seventeen.place) / "cell-02.jpg").unlink()
    (chunk,) = read(task, bundle)
    assert "changed since it was listed" in str(chunk.error)
    shutil.rmtree(seventeen.place)
    (chunk,) = read(task, bundle)
    assert "cannot be read" in str(chunk.error)
    assert isinstance(list_slides([seventeen])[0], SlideError)


def test_a_store_that_no_longer_answers_costs_a_slide_one_chunk(
    seventeen: Slide, bundle: Bundle, tried: object, monkeypatch: pytest.MonkeyPatch
):
    folder = Path(seventeen.place)
    for number in range(100):
        shutil.copy(folder / "cell-01.jpg", folder / f"z-{number}.jpg")
    system, asked = pyarrow.fs.SubTreeFileSystem(seventeen.place, pyarrow.fs.LocalFileSystem()), []

    def away(self: object, file: File, listed: object) -> RawFile:
        asked.append(file)
        raise IncompleteError("cannot be read: AWS Error NETWORK_CONNECTION")

    monkeypatch.setattr(places, "_file_system", lambda uri: (system, ""))
    there = Slide("store://17", "store://17", "")
    task = Task(0, there, listing_of(there))
    monkeypatch.setattr(places._Remote, "_read", away)
    (chunk,) = read(task, bundle)
    assert str(chunk.error) == "store://17: cell-01.jpg cannot be read: AWS Error NETWORK_CONNECTION"
    assert len(asked) < task.listing.images


def test_slides_of_a_store_are_listed_beside_each_other(monkeypatch: pytest.MonkeyPatch):
    beside = threading.Barrier(2, timeout=20)

    def listed(slide: Slide) -> Listing:
        beside.wait()
        return Listing(1, slide.path)

    monkeypatch.setattr(stages, "_list", listed)
    slides = [Slide(f"s3://{name}", f"s3://{name}", name) for name in "ab"]
    assert list_slides(slides) == [Listing(1, "a"), Listing(1, "b")]


def test_what_ends_its_process_each_time_costs_its_slide_alone(seventeen: Slide, bundle: Bundle, tried):  # type: ignore[no-untyped-def]
    task = Task(0, seventeen, listing_of(seventeen))
    tried(stages.MAX_TRIES - 1)
    (chunk,) = read(task, bundle)
    assert chunk.error is None
    tried(stages.MAX_TRIES)
    (chunk,) = read(task, bundle)
    assert "ended 5 times" in str(chunk.error)
    (table,) = Model(replace(job(bundle), sha256="f"))(packed(chunk))
    (answer,) = unpacked(table)
    assert isinstance(answer, Answer)
    assert (answer.of_all, str(answer.error)) == (False, str(chunk.error))


def test_the_loss_of_a_machine_is_no_fault_of_the_chunk_that_waited(seventeen: Slide, bundle: Bundle, tried):  # type: ignore[no-untyped-def]
    (chunk,) = read(Task(0, seventeen, listing_of(seventeen)), bundle)
    model = Model(replace(job(bundle), version=version("cartcls")))
    for tries, rows in ((stages.MAX_TRIES + 2, 3), (stages.MODEL_TRIES, 0)):
        tried(tries)
        (table,) = model(packed(chunk))
        (answer,) = unpacked(table)
        assert isinstance(answer, Answer)
        assert len(answer.cells) == rows, answer.error


@pytest.mark.parametrize("change", [{"sha256": "f"}, {"version": "0.0.1"}, {"bundle": Path("/no-such")}])
def test_a_machine_with_another_bundle_or_version_is_an_error_of_all(
    seventeen: Slide, bundle: Bundle, tried: object, change: dict[str, object]
):
    (chunk,) = read(Task(0, seventeen, listing_of(seventeen)), bundle)
    (table,) = Model(replace(job(bundle), **change))(packed(chunk))  # pyright: ignore[reportArgumentType]
    (answer,) = unpacked(table)
    assert isinstance(answer, Answer)
    assert answer.of_all
    assert isinstance(answer.error, BundleError)


def test_a_file_that_could_not_be_read_is_tried_again_and_a_damaged_one_is_not(
    seventeen: Slide, bundle: Bundle, tried: object
):
    folder = Path(seventeen.place)
    (folder / "cell-01.jpg").write_bytes((folder / "cell-01.jpg").read_bytes()[:3000])
    (folder / "cell-02.jpg").write_bytes(b"")
    (folder / "cell-03.jpg").unlink()
    (folder / "cell-03.jpg").symlink_to("cell-01.jpg")
    (chunk,) = read(Task(0, seventeen, listing_of(seventeen)), bundle)
    assert all(reading.error for reading in chunk.readings)
    assert not any(map(stages._is_unsettled, chunk.files, chunk.readings))
    (folder / "cell-01.jpg").unlink()
    gone = stages.folder_of(seventeen).read(chunk.files[0], 64, 64, None)
    assert stages._is_unsettled(chunk.files[0], gone)


def cells(*numbers: int) -> list[Cell]:
    return [Cell(seq, f"{seq}.jpg", "ok", "", "", "ig", (1.0,) * 8, sha256=str(seq % 3)) for seq in numbers]


def test_answers_come_in_any_order_and_count_once(bundle: Bundle):
    rows = SlideRows(5)
    assert rows.add(Answer(0, cells(4, 5), made_by=("b", "p", "d"))) == 2
    assert rows.add(Answer(0, cells(4, 5), made_by=("b", "p", "d"))) == 0
    assert not rows.is_complete
    assert rows.add(Answer(0, cells(1, 2, 3), made_by=("a", "p", "d"))) == 3
    assert rows.is_complete
    made = finished(rows, bundle, RUN)
    assert [(cell.seq, cell.status, cell.reason) for cell in made.cells] == [
        (1, "ok", ""), (2, "ok", ""), (3, "ok", ""),
        (4, "duplicate", "same bytes as 1.jpg"), (5, "duplicate", "same bytes as 2.jpg"),
    ]  # fmt: skip
    assert [",a," in line for line in made.lines] == [True] * 3 + [False] * 2
    assert made.features is None
