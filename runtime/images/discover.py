"""Which files in a slide's folder may be images, in which order, and how their names are shown."""

import hashlib
import os
import re
import time
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path

from .decode import fingerprint
from .left_out import LeftOut, begins_like_an_image, is_left_out, is_output, kind_of

LONGEST_NAME = 150
SETTLED = 10.0  # seconds without a change: more than the clock of any file system rounds
FORMULA = ("=", "+", "-", "@")
WINDOWS_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\..*)?", re.IGNORECASE)
NOT_ON_WINDOWS = re.compile(r'[\\:*?"<>|]|[. ]$')


def find_images(
    slide_dir: Path,
    excluded: Path | None,
    failed: Callable[[bytes, OSError], None] | None = None,
    alive: Callable[[], None] = lambda: None,
    left_out: LeftOut | None = None,
    known: Container[bytes] = (),
    before: LeftOut | None = None,
) -> Iterator[bytes]:
    """List everything in a slide's folder that may be an image, at any depth, in the order of the names' bytes.

    What `left_out.py` names is skipped: folders of systems and of cartcls itself, hidden and temporary files, and files
    that are no images. Everything else is listed, also links and unreadable folders, so that what cannot be read gets
    a row with the reason.

    Args:
        slide_dir: Folder of one slide.
        excluded: Folder of reports, which is never searched.
        failed: Called with each folder that cannot be listed, relative to the slide (its own is empty), and the reason;
            without it, such a folder is listed like an image.
        alive: Called after each folder that was listed, because a search may take minutes.
        left_out: Counts what is skipped.
        known: Paths that were listed before; their content is not looked at again.
        before: What an earlier search of the same folder left out; it is opened again only if it has changed.

    Yields:
        Paths as bytes, relative to the slide.
    """
    left_out = LeftOut() if left_out is None else left_out
    root = os.fsencode(slide_dir)
    inner = _inner(root)
    found: list[bytes] = []
    unreadable: list[OSError] = []
    for folder, links, files in _searched(root, excluded, left_out, unreadable):
        alive()
        found += [path[inner:] for path in links]
        found += _images(folder, files, inner, left_out, known, before)
    for error in unreadable:
        if failed is None:
            found.append(error.filename[inner:] or b".")
        else:
            failed(error.filename[inner:], error)
    yield from sorted(found)


def folders_with_images(
    slide_dir: Path,
    excluded: Path | None,
    left_out: LeftOut,
    failed: Callable[[bytes, OSError], None] | None = None,
) -> Iterator[bytes]:
    """Find the folders of what `find_images` lists, and look at no more of the files in each than it takes.

    Args:
        slide_dir: Folder of one slide.
        excluded: Folder of reports, which is never searched.
        left_out: Counts what is skipped: all of it, where no image is found.
        failed: Called at the end with each folder that cannot be listed, and the reason; without it, the folder that
            holds it is given.

    Yields:
        Paths as bytes, relative to the slide; its own is empty.
    """
    root = os.fsencode(slide_dir)
    inner = _inner(root)
    unreadable: list[OSError] = []
    for folder, links, files in _searched(root, excluded, left_out, unreadable):
        if links or next(_images(folder, files, inner, left_out), None) is not None:
            yield folder[inner:]
    for error in unreadable:
        if failed is None:
            yield os.path.dirname(error.filename[inner:])
        else:
            failed(error.filename[inner:], error)


def _inner(root: bytes) -> int:
    """How many bytes to take off a path below a folder to make it relative; `relpath` takes a second for 100,000."""
    return len(os.path.join(root, b""))


def _searched(
    root: bytes, excluded: Path | None, left_out: LeftOut, unreadable: list[OSError]
) -> Iterator[tuple[bytes, list[bytes], list[bytes]]]:
    """Folders that are searched, links to folders in each, and names of its files; adds why others cannot be listed."""
    real = os.path.realpath(root)  # no link below it is followed
    reports = None if excluded is None else os.path.realpath(os.fsencode(excluded))
    inner = _inner(root)

    def failed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError) or error.filename == root:  # else deleted since its name was read
            unreadable.append(error)

    for folder, folders, files in os.walk(root, onerror=failed):
        links, searched = [], []
        if folder != root and is_output(folder, {*folders, *files}):
            left_out.folders.add(_shown(os.path.basename(folder)))
            folders.clear()
            files.clear()
        for name in _entered(folders, left_out):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                links.append(path)
            elif os.path.join(real, path[inner:]) != reports:
                searched.append(name)
        folders[:] = searched
        yield folder, links, files


def sub_folders(folder: Path, excluded: Path | None, left_out: LeftOut) -> list[Path]:
    """Folders directly in a folder that are searched, also linked ones, in the order of the names' bytes."""
    root = os.fsencode(folder)
    found = []
    for name in _entered(sorted(name for name in listed(folder) if os.path.isdir(os.path.join(root, name))), left_out):
        path = folder / os.fsdecode(name)
        if excluded is not None and path.resolve() == excluded.resolve():
            continue
        if is_output(os.fsencode(path), listed(path)):
            left_out.folders.add(_shown(name))
        else:
            found.append(path)
    return found


def images_directly_in(folder: Path, left_out: LeftOut) -> list[bytes]:
    """Names of what may be images in a folder, but not in folders of it."""
    root = os.fsencode(folder)
    files = [name for name in listed(folder) if not os.path.isdir(os.path.join(root, name))]
    return images_among(root, files, left_out)


def images_among(folder: bytes, files: Iterable[bytes], left_out: LeftOut) -> list[bytes]:
    """Which of the names of a folder's files may be images, in the order of their bytes."""
    return sorted(_images(folder, files, _inner(folder), left_out))


def _entered(folders: Iterable[bytes], left_out: LeftOut) -> Iterator[bytes]:
    for name in folders:
        if is_left_out(name):
            left_out.folders.add(_shown(name))
        else:
            yield name


def _images(
    folder: bytes,
    files: Iterable[bytes],
    inner: int,
    left_out: LeftOut,
    known: Container[bytes] = (),
    before: LeftOut | None = None,
) -> Iterator[bytes]:
    """Paths of the images among the files of a folder, without their first `inner` bytes."""
    for name in files:
        path = os.path.join(folder, name)
        kind = kind_of(name)
        if kind == "unknown":
            kind = "image" if path[inner:] in known or _is_image(path, left_out, before) else "no image"
        if kind == "image":
            yield path[inner:]
        elif kind == "no image":
            left_out.suffixes[_shown(os.path.splitext(name)[1].lower())] += 1
        elif kind == "temporary":
            left_out.temporary += 1


def _is_image(path: bytes, left_out: LeftOut, before: LeftOut | None) -> bool:
    """Whether a file begins as images do; one that an earlier search opened is opened again only if it has changed."""
    found = fingerprint(path)
    same = found is not None and before is not None and before.opened.get(path) == found
    if not same and begins_like_an_image(path):
        return True
    if found is not None and (same or (found.size and time.time() - found.mtime_ns / 1e9 > SETTLED)):
        left_out.opened[path] = found
    return False


def listed(folder: Path) -> list[bytes]:
    """Names in a folder; none where it cannot be read, since `find_images` then gives it a row with the reason."""
    try:
        return os.listdir(os.fsencode(folder))
    except OSError:
        return []


def _shown(name: bytes) -> str:
    """A name for a message, where no character starts a formula."""
    return text if (text := _text(name)).isprintable() else readable_name(name)


def readable_name(name: bytes) -> str:
    """A file name as it is, or percent-encoded if that is not safe to show (see `needs_encoding`)."""
    text = _text(name)
    if not needs_encoding(name):
        return text
    return "".join(
        letter
        if _is_shown(letter) and letter != "%" and not (index == 0 and letter in FORMULA)
        else "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogateescape"))
        for index, letter in enumerate(text)
    )


def needs_encoding(name: bytes) -> bool:
    """Whether a file name is not printable UTF-8, or its first character starts a formula in a spreadsheet."""
    text = _text(name)
    return not all(map(_is_shown, text)) or text[:1] in FORMULA


def _is_shown(letter: str) -> bool:
    """Whether a letter can be shown as it is; spaces of other scripts and of screenshots can, unlike for Python."""
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


def _text(name: bytes) -> str:
    return name.replace(os.sep.encode(), b"/").decode("utf-8", "surrogateescape")


def slide_name(slide_dir: Path) -> str:
    """Name of a slide, valid as a folder name: its folder's readable name."""
    return valid_name(os.fsencode(slide_dir.resolve().name), short_digest(slide_dir)) or "slide"


def valid_name(name: bytes, digest: str) -> str:
    """A readable name that is valid for files and folders, also on Windows.

    Args:
        name: The name, without a `/`.
        digest: Ends the name where it must be shortened.
    """
    valid = NOT_ON_WINDOWS.sub(_percent, readable_name(name))
    if WINDOWS_DEVICE.fullmatch(valid):
        valid = f"%{ord(valid[0]):02X}{valid[1:]}"
    if len(valid.encode()) > LONGEST_NAME:
        valid = f"{valid.encode()[:LONGEST_NAME].decode('utf-8', 'ignore')}-{digest}"
    return valid


def _percent(letter: re.Match[str]) -> str:
    return f"%{ord(letter[0]):02X}"


def short_digest(slide_dir: Path) -> str:
    """Eight hexadecimal digits that distinguish this folder from another of the same name."""
    return hashlib.sha256(os.fsencode(slide_dir.resolve())).hexdigest()[:8]
