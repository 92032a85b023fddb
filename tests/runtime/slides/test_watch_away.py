"""A capture folder on a share that does not answer: the watch waits, says so, and shows life only while it gets on."""

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from scene import Scene, put

from cartcls.runtime.errors import OutputError
from cartcls.runtime.images import decode
from cartcls.runtime.slides.batch import check_slide
from cartcls.runtime.slides.watch import AT_ONCE

DOWN = (errno.EHOSTDOWN, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EACCES, errno.ENODEV)
LOOKS = ("stat", "lstat", "scandir", "listdir", "readlink", "open")


class Share:
    """Part of the file system that fails, by its calls."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path | str):
        self.number, self._root = 0, os.fsencode(root)
        self.only: tuple[str, ...] = LOOKS
        for name in LOOKS:
            patch.setattr(os, name, self._failing(name, getattr(os, name)))

    def _failing(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def attempt(path: object = ".", *arguments: object, **named: object) -> object:
            below = isinstance(path, str | bytes | os.PathLike) and os.fsencode(path).startswith(self._root)  # type: ignore[arg-type]
            if self.number and name in self.only and below:
                raise OSError(self.number, os.strerror(self.number), path)
            return call(path, *arguments, **named)

        return attempt


@pytest.mark.parametrize("number", DOWN, ids=errno.errorcode.get)
def test_a_share_that_is_down_is_waited_for(
    scene: Scene, cells: list[bytes], monkeypatch: pytest.MonkeyPatch, number: int
):
    put(scene.captures / "s", "1.jpg", cells[0])
    scene.wait()
    before = scene.rows("s")
    put(scene.captures / "s", "2.jpg", cells[1])
    scene.wait(1)
    with monkeypatch.context() as patch:
        Share(patch, scene.captures).number = number
        assert scene.wait(700) == 0
    assert scene.said == [f"{scene.captures} is not there ({os.strerror(number)}): waiting for it"]
    assert scene.wait(5) == 1
    assert scene.said[1:] == [f"{scene.captures} is there again"]
    rows = scene.rows("s")
    assert rows.pop("2.jpg")["status"] == "ok"
    assert rows == before
    assert [slide.work.ledger.slide.name for slide in scene.watch.slides] == ["s"]


@pytest.mark.parametrize("only", [*((name,) for name in LOOKS), ("stat", "lstat")], ids=" ".join)
def test_whichever_look_fails_nothing_ends_and_nothing_is_lost(
    scene: Scene, cells: list[bytes], monkeypatch: pytest.MonkeyPatch, only: tuple[str, ...]
):
    put(scene.captures / "s", "1.jpg", cells[0])
    scene.wait()
    put(scene.captures / "s", "2.jpg", cells[1])
    put(scene.captures / "t", "3.jpg", cells[2])
    with monkeypatch.context() as patch:
        share = Share(patch, scene.captures)
        share.number, share.only = errno.EHOSTDOWN, only
        scene.wait(100)
    scene.wait(100)
    assert {path: row["status"] for path, row in scene.rows("s").items()} == {"1.jpg": "ok", "2.jpg": "ok"}
    assert {path: row["status"] for path, row in scene.rows("t").items()} == {"3.jpg": "ok"}
    assert [slide.work.ledger.slide.name for slide in scene.watch.slides] == ["s", "t"]


def test_a_slide_folder_that_cannot_be_listed_is_no_image_of_another_slide(
    scene: Scene, cells: list[bytes], monkeypatch: pytest.MonkeyPatch
):
    put(scene.captures / "s", "1.jpg", cells[0])
    put(scene.captures / "t", "1.jpg", cells[1])
    scene.wait()
    before = scene.rows("s")
    put(scene.captures / "s", "2.jpg", cells[2])
    scene.wait(1)
    with monkeypatch.context() as patch:
        Share(patch, scene.captures / "s").number = errno.EACCES
        put(scene.captures / "t", "2.jpg", cells[3])
        assert scene.wait(700) == 1
        assert scene.watch.unlisted == {b"s"}
    assert scene.said == ["s cannot be listed (Permission denied): waiting for it"]
    assert {path.name for path in scene.out.iterdir() if path.is_dir()} == {"s", "t"}
    assert scene.rows("s") == before
    assert scene.wait(5) == 1
    assert scene.rows("s").keys() == {"1.jpg", "2.jpg"}
    assert (scene.watch.unlisted, scene.watch.waiting()) == (set(), 0)


def test_a_file_whose_share_fails_while_it_is_read_is_read_later(
    scene: Scene, cells: list[bytes], monkeypatch: pytest.MonkeyPatch
):
    put(scene.captures / "s", "1.jpg", cells[0])

    whole = os.fstat

    def fail(descriptor: int) -> os.stat_result:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("1.jpg"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return whole(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(decode.os, "fstat", fail)
        assert scene.wait(20) == 0
    assert scene.wait(60) == 1
    assert scene.rows("s")["1.jpg"]["status"] == "ok"


def test_a_share_may_be_down_when_the_watch_begins_but_no_folder_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "captures"
    with pytest.raises(OutputError, match="is not a folder"):
        check_slide(folder, tmp_path / "out", may_be_away=True)
    folder.mkdir()
    Share(monkeypatch, folder).number = errno.EHOSTDOWN
    check_slide(folder, tmp_path / "out", may_be_away=True)
    with pytest.raises(OutputError, match="captures cannot be read: Host is down"):
        check_slide(folder, tmp_path / "out")


def slowly(scene: Scene, patch: pytest.MonkeyPatch, name: str, seconds: float) -> None:
    """Let each such call below the slide take a while on the scene's clock."""
    call, root = getattr(os, name), os.fsencode(scene.captures / "s")

    def slow(path: str | bytes, *arguments: object, **named: object) -> object:
        if os.fsencode(path).startswith(os.path.join(root, b"")):
            scene.time += seconds
        return call(path, *arguments, **named)

    patch.setattr(os, name, slow)


@pytest.fixture
def looking(scene: Scene, cells: list[bytes], request: pytest.FixtureRequest) -> list[float]:
    """A look at forty files, or forty folders, that are known; the times of its signs of life."""
    for number in range(40):
        folder = scene.captures / "s" / (f"{number:02d}" if request.param == "scandir" else "")
        put(folder, f"{number:02d}.jpg", cells[0] + b"%d" % number)
    scene.begin(AT_ONCE)
    while scene.watch.step():
        pass
    beats = [scene.time]
    scene.begin(AT_ONCE, alive=lambda: beats.append(scene.time))
    return beats


SLOW = pytest.mark.parametrize(("looking", "name"), [("scandir",) * 2, ("lstat",) * 2], indirect=["looking"])


@SLOW
def test_a_long_look_shows_life_while_it_gets_on(
    scene: Scene, looking: list[float], monkeypatch: pytest.MonkeyPatch, name: str
):
    slowly(scene, monkeypatch, name, 30)
    scene.watch.step()
    assert scene.time >= 40 * 30
    assert max(later - earlier for earlier, later in itertools.pairwise(looking)) <= 60


@SLOW
def test_a_look_at_which_nothing_succeeds_any_more_shows_no_life(
    scene: Scene, looking: list[float], monkeypatch: pytest.MonkeyPatch, name: str
):
    share = Share(monkeypatch, f"{scene.captures}/s/")
    share.number, share.only = errno.ETIMEDOUT, (name,)
    slowly(scene, monkeypatch, name, 60)
    scene.watch.step()
    assert scene.time >= 40 * 60
    assert set(looking) <= {0.0, scene.time}  # at its begin, and at the end of the step
