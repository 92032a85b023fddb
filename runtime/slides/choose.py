"""Which folders a command line means as slides."""

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from ..errors import OutputError, UsageError, batch_command
from ..images.discover import folders_with_images, images_directly_in, readable_name, sub_folders
from ..images.left_out import LeftOut
from ..ledger.folder import has_slide
from .batch import check_slide

SHOWN = 5


def choose_slides(
    named: Sequence[Path], out: Path, one_slide: bool, each: bool, notify: Callable[[str], None]
) -> list[Path]:
    """The slides that are meant by the folders on a command line.

    Args:
        named: Folders as they were named.
        out: Folder of all reports.
        one_slide: Whether the folders in a slide are parts of it, also where they lie side by side.
        each: Whether every folder in a named one is a slide.
        notify: Called with messages for the user.

    Raises:
        OutputError: A folder is none, is the one for the reports, or holds no image and never had a row.
        UsageError: Folders of images lie side by side, and neither option says what they are.
    """
    held: dict[Path, list[bytes]] = {}
    for folder in named:
        check_slide(folder, out)
    for folder in _distinct(named, notify):
        held |= _every_folder(folder, out, one_slide, notify) if each else _one_folder(folder, out, one_slide)
    slides = _distinct(held, notify)
    for slide in slides:
        _check_one_slide(slide, held[slide], out, each)
    return slides


def _distinct(folders: Iterable[Path], notify: Callable[[str], None]) -> list[Path]:
    """Each folder once, whatever its names and the links to it: by a name that is no link, if there is one."""
    names = list(dict.fromkeys(folders))
    chosen: dict[Path, Path] = {}
    for name in sorted(names, key=Path.is_symlink):
        if (other := chosen.setdefault(name.resolve(), name)) != name:
            notify(f"{name} is the folder {other}: it is classified once")
    return [name for name in names if chosen[name.resolve()] == name]


def _every_folder(folder: Path, out: Path, one_slide: bool, notify: Callable[[str], None]) -> dict[Path, list[bytes]]:
    """The slides in a folder, and the folders of images in each."""
    if beside := images_directly_in(folder, LeftOut()):
        raise UsageError(
            f"{folder} holds {len(beside)} image(s) beside its folders ({_few(beside)}), which --each takes for slides:"
            " move the images to a folder of their own, or name the slides one by one"
        )
    folders = _distinct(sub_folders(folder, out, left_out := LeftOut()), notify)
    held = {path: _folders(path, out, one_slide, LeftOut()) for path in folders}
    slides = {path: found for path, found in held.items() if found or has_slide(out, path)}
    if not slides:
        raise OutputError(f"{folder} holds no folder with images: name the folder of the slides")
    if empty := [os.fsencode(path.name) for path in folders if path not in slides]:
        notify(f"{folder}: no image in {_few(empty)}")
    if left_out.folders:
        notify(f"{folder}: {left_out}")
    return slides


def _one_folder(slide: Path, out: Path, one_slide: bool) -> dict[Path, list[bytes]]:
    """A named slide, and the folders of images in it."""
    found = _folders(slide, out, one_slide, left_out := LeftOut())
    if not found and not has_slide(out, slide):
        why = f" ({left_out})" if str(left_out) else ""
        raise OutputError(f"{slide} holds no image{why}: name a folder of cell crops")
    return {slide: found}


def _folders(slide: Path, out: Path, one_slide: bool, left_out: LeftOut) -> list[bytes]:
    """Folders of images in a slide; the first alone where they are parts of it wherever they lie."""
    return list(islice(folders_with_images(slide, out, left_out), 1 if one_slide else None))


def _check_one_slide(slide: Path, folders: Sequence[bytes], out: Path, each: bool) -> None:
    if not (apart := _side_by_side(folders)):
        return
    choice = "add --each, or name the slides one by one"
    if each:
        choice = f"run {batch_command(slide, '--each', out)}, and name the other slides one by one"
    raise UsageError(
        f"{slide} holds images in {len(apart)} folders side by side ({_few(apart)}). If each of them is a slide,"
        f" {choice}; if they are parts of one slide, add --one-slide"
    )


def _side_by_side(folders: Iterable[bytes]) -> list[bytes]:
    """The first folders that lie side by side, of those that hold images; none if each lies in the one before."""
    inside: tuple[bytes, ...] = ()
    parts = [tuple(folder.split(os.sep.encode())) for folder in folders if folder]
    while parts:
        next_ones = sorted({part[: len(inside) + 1] for part in parts if len(part) > len(inside)})
        if len(next_ones) != 1:
            return [os.sep.encode().join(part) for part in next_ones]
        (inside,) = next_ones
    return []


def _few(names: Sequence[bytes]) -> str:
    return ", ".join(map(readable_name, names[:SHOWN])) + (", …" if len(names) > SHOWN else "")
