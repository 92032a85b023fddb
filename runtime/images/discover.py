"""Which files in a slide's folder may be images, in which order, and how their names are shown."""

import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

BESIDE_IMAGES = {
    b".csv",
    b".db",
    b".htm",
    b".html",
    b".ini",
    b".json",
    b".log",
    b".md",
    b".txt",
    b".xml",
    b".yaml",
    b".yml",
}
SYSTEM_FILES = {b"Thumbs.db", b"desktop.ini", b".DS_Store"}
REPORT_FILES = {b"cells.csv", b"summary.json"}
LONGEST_NAME = 150
FORMULA = ("=", "+", "-", "@")


def find_images(
    slide_dir: Path,
    excluded: Path,
    failed: Callable[[bytes, OSError], None] | None = None,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[bytes]:
    """List everything in a slide's folder that may be an image, at any depth, in the order of the names' bytes.

    Only what usually lies beside images is skipped: texts, tables, hidden folders, files of the operating system, and
    reports. Everything else is listed, also links and unreadable folders, so that what cannot be read gets a row with
    the reason.

    Args:
        slide_dir: Folder of one slide.
        excluded: Folder of reports, which is never searched.
        failed: Called with each folder that cannot be listed, relative to the slide (its own is empty), and the reason;
            without it, such a folder is listed like an image.
        alive: Called after each folder that was listed, because a search may take minutes.

    Yields:
        Paths as bytes, relative to the slide.
    """
    root, left_out = os.fsencode(slide_dir), os.path.realpath(os.fsencode(excluded))
    found: list[bytes] = []
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=unreadable.append):
        alive()
        if REPORT_FILES.issubset(files):
            folders.clear()
            continue
        entries = {name: os.path.join(folder, name) for name in folders}
        found += [path for path in entries.values() if os.path.islink(path)]
        folders[:] = [
            name
            for name, path in entries.items()
            if not name.startswith(b".") and not os.path.islink(path) and os.path.realpath(path) != left_out
        ]
        found += [os.path.join(folder, name) for name in files if _may_be_image(name)]
    inner = len(os.path.join(root, b""))
    for error in unreadable:
        if isinstance(error, FileNotFoundError) and error.filename != root:
            continue  # deleted since its name was read
        if failed is None:
            found.append(error.filename)
        else:
            failed(error.filename[inner:], error)
    yield from sorted(path[inner:] or b"." for path in found)  # `relpath` takes a second for 100,000


def _may_be_image(name: bytes) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix not in BESIDE_IMAGES and not name.startswith(b"._") and name not in SYSTEM_FILES


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
    """Name of a slide, valid as a folder name: its folder's readable name, shortened with a digest if long."""
    name = readable_name(os.fsencode(slide_dir.resolve().name)) or "slide"
    name = name.replace(":", "%3A").replace("\\", "%5C")
    if len(name.encode()) > LONGEST_NAME:
        name = f"{name.encode()[:LONGEST_NAME].decode('utf-8', 'ignore')}-{short_digest(slide_dir)}"
    return name


def short_digest(slide_dir: Path) -> str:
    """Eight hexadecimal digits that distinguish this folder from another of the same name."""
    return hashlib.sha256(os.fsencode(slide_dir.resolve())).hexdigest()[:8]
