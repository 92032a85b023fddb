import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import FakeBackend
from samples import RUN

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError
from cartcls.runtime.images.discover import find_images
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.ledger.records import LedgerImage
from cartcls.runtime.slides.slide import SlideWork

Begin = Callable[[Path], SlideWork]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def begin(out: Path, bundle: Bundle) -> Iterator[Begin]:
    """Begins the work at a folder, and notes what is in it."""
    with open_ledger(out, bundle) as ledger:

        def begun(folder: Path) -> SlideWork:
            work = SlideWork(folder, out, RUN, Classifier(bundle, FakeBackend()), ledger)
            work.discover(find_images(folder, out))
            return work

        yield begun


@pytest.fixture
def folder(slide: Path, tmp_path: Path) -> Path:
    """Six real cells."""
    (tmp_path / "slide").mkdir()
    for number in range(1, 7):
        shutil.copy(slide / f"cell-{number:02d}.jpg", tmp_path / "slide")
    return tmp_path / "slide"


def paths(images: list[LedgerImage]) -> list[str]:
    return [image.path.decode() for image in images]


def test_two_slides_of_the_same_name_get_a_folder_each(tmp_path: Path, begin: Begin):
    one, two = (tmp_path / name / "slide" for name in ("one", "two"))
    for directory in (one, two):
        directory.mkdir(parents=True)
    first, second = begin(one).directory, begin(two).directory
    assert first != second
    assert (begin(one).directory, begin(two).directory) == (first, second)
    for folder, directory in ((one, first), (two, second)):
        work = begin(folder)
        assert (work.write_summary().slide, work.directory) == (directory.name, directory)


def test_a_folder_or_file_that_is_no_report_is_left_alone(folder: Path, out: Path, begin: Begin):
    (out / "slide").touch()
    with pytest.raises(OutputError, match="is not a report"):
        begin(folder)
    (out / "slide").unlink()
    (out / "slide").mkdir()
    (out / "slide" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="is not a report"):
        begin(folder)
    assert [path.name for path in (out / "slide").iterdir()] == ["thesis.txt"]
    (out / "slide" / "thesis.txt").unlink()
    assert begin(folder).directory == out / "slide"


def test_what_is_to_be_done_is_new_changed_or_rejected_and_still_there(folder: Path, slide: Path, begin: Begin):
    (folder / "cell-04.jpg").write_bytes(b"junk")
    work = begin(folder)
    assert paths(work.to_be_done()) == sorted(path.name for path in folder.iterdir())
    work.classify(work.to_be_done())
    (folder / "cell-01.jpg").unlink()
    shutil.copy(slide / "cell-20.jpg", folder / "cell-02.jpg")
    shutil.copy(slide / "cell-21.jpg", folder / "a-new.jpg")
    again = begin(folder)
    assert paths(again.to_be_done()) == ["a-new.jpg", "cell-02.jpg", "cell-04.jpg"]


def test_what_is_not_whole_yet_gets_another_try_where_there_is_time(folder: Path, slide: Path, begin: Begin):
    (folder / "cell-02.jpg").write_bytes((slide / "cell-02.jpg").read_bytes()[:5000])
    work = begin(folder)
    done: list[tuple[int, int]] = []
    postponed = work.classify(work.to_be_done(), lambda *numbers: done.append(numbers), patient=True)
    assert paths(postponed) == ["cell-02.jpg"]
    assert done == [(3, 6), (5, 6)]
    assert [cell.seq for cell in work.ledger.cells()] == [1, 2, 3, 4, 5]
    image = work.ledger.images()[b"cell-02.jpg"]
    assert (image.state, image.attempts) == ("retry", 0)
    work.classify([image])
    assert [(cell.seq, cell.status) for cell in work.ledger.cells()][5:] == [(6, "rejected")]


def test_told_to_stop_it_writes_down_what_is_under_way_and_begins_no_more(folder: Path, begin: Begin):
    work = begin(folder)
    asked: list[bool] = []
    work.classify(work.to_be_done(), stop=lambda: asked.append(True) or len(asked) > 1)
    assert len(asked) == 2
    assert [cell.path for cell in work.ledger.cells()] == [f"cell-{number:02d}.jpg" for number in (1, 2, 3, 4)]
    known = work.ledger.images()
    assert [(known[name].state, known[name].attempts) for name in (b"cell-05.jpg", b"cell-06.jpg")] == [("seen", 0)] * 2
