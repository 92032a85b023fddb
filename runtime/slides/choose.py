"""Which folders a command line means as slides."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..errors import OutputError, UsageError, batch_command
from ..images.discover import find_images, images_directly_in, readable_name, sub_folders
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
    slides: list[Path] = []
    for folder in named:
        check_slide(folder, out)
        slides += _every_folder(folder, out, notify) if each else [folder]
    for slide in slides:
        _check_images(slide, out, one_slide, each)
    return slides


def _every_folder(folder: Path, out: Path, notify: Callable[[str], None]) -> list[Path]:
    if beside := images_directly_in(folder, LeftOut()):
        raise UsageError(
            f"{folder} holds {len(beside)} image(s) beside its folders ({_few(beside)}), which --each takes for slides:"
            " move the images to a folder of their own, or name the slides one by one"
        )
    folders = sub_folders(folder, out, left_out := LeftOut())
    slides = [path for path in folders if any(find_images(path, out)) or has_slide(out, path)]
    if not slides:
        raise OutputError(f"{folder} holds no folder with images: name the folder of the slides")
    if empty := [os.fsencode(path.name) for path in folders if path not in slides]:
        notify(f"{folder}: no image in {_few(empty)}")
    if left_out.folders:
        notify(f"{folder}: {left_out}")
    return slides


def _check_images(slide: Path, out: Path, one_slide: bool, each: bool) -> None:
    left_out = LeftOut()
    folders = {os.path.dirname(path) for path in find_images(slide, out, left_out=left_out)}
    if not folders and not has_slide(out, slide):
        why = f" ({left_out})" if str(left_out) else ""
        raise OutputError(f"{slide} holds no image{why}: name a folder of cell crops")
    if one_slide or not (apart := _side_by_side(folders)):
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
