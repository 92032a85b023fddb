"""Where the slides of an archive lie: in folders, or in what `pyarrow.fs` knows by a URI; each folder of images is one.

A slide is known by its place: the same folder is the same slide, whatever folder above it was named.
"""

import hashlib
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow
import pyarrow.fs

from ..errors import ImageError, IncompleteError, SlideError
from ..images.adjust import Adjustment
from ..images.decode import MAX_BYTES, Fingerprint, RawFile, fingerprint, too_large
from ..images.discover import folders_with_images, images_among, readable_name, valid_name
from ..images.left_out import HEAD, HEADS, LeftOut, is_left_out, is_output, is_report, kind_of
from ..images.reading import Reading, read_bytes, read_cell

URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
RETRY_LIMIT, RETRIED_FOR = "retry_limit_seconds", 60  # where pyarrow would try for a quarter of an hour
HIDDEN = "._"  # programs that read a folder of Parquet files leave out those that begin with one of these


class File(NamedTuple):
    """A file of a slide, as its folder lists it.

    Attributes:
        name: Its name.
        size: In bytes; -1 where it is not known.
        mtime_ns: When it was last changed; 0 where that is not known.
    """

    name: bytes
    size: int
    mtime_ns: int

    def is_as(self, found: Fingerprint | None) -> bool:
        """Whether a file that was read is the one that was listed."""
        return found is not None and (found.size, found.mtime_ns) == (self.size, self.mtime_ns)


@dataclass(frozen=True)
class Slide:
    """A folder of images.

    Attributes:
        place: Absolute path of the folder, or its URI without user, password and options.
        uri: The URI that was named, which says how to reach its file system; empty for a path.
        path: Path of the folder in that file system.
    """

    place: str
    uri: str = field(default="", repr=False)
    path: str = ""

    @property
    def name(self) -> str:
        """Name of the slide, as `batch` gives it."""
        digest = hashlib.sha256(os.fsencode(self.place)).hexdigest()
        return valid_name(os.fsencode(posixpath.basename(self.place)), digest[:8]) or "slide"

    @property
    def source(self) -> str:
        """Its place, readable."""
        return readable_name(os.fsencode(self.place))

    @property
    def file(self) -> str:
        """Name of its file in the table: always the same, and no other slide's."""
        digest = hashlib.sha256(os.fsencode(self.place)).hexdigest()
        return f"{self.name.lstrip(HIDDEN) or 'slide'}-{digest[:16]}.parquet"


class Folder(Protocol):
    """Where a slide's files are listed and read."""

    def files(self) -> list[File]:
        """What may be images, in the order of their names' bytes.

        Raises:
            SlideError: The folder cannot be listed.
        """
        ...

    def read(self, file: File, width: int, height: int, adjustment: Adjustment | None) -> Reading:
        """Read one of them, as `read_cell` does."""
        ...


def find_slides(source: str, table: Path) -> Iterator[Slide]:
    """Find the folders of images in a folder, itself among them, at any depth.

    Args:
        source: A path, or a URI.
        table: The table, which is not searched.

    Yields:
        Also folders that cannot be listed, which may be slides: `Folder.files` says why.

    Raises:
        SlideError: It is no folder, or cannot be reached.
    """
    root = Path(source)
    if URI.match(source):
        system, path = _file_system(source)
        if not isinstance(system, pyarrow.fs.LocalFileSystem):
            yield from _find_remote(source, system, path)
            return
        root = Path(path)
    try:
        names = os.listdir(os.fsencode(root))
    except (FileNotFoundError, NotADirectoryError):
        raise SlideError(f"{source} is not a folder: name a folder of slides, or a URI such as s3://…") from None
    except OSError as error:
        raise SlideError(f"{source} cannot be reached: {error.strerror}") from None
    if is_report(os.fsencode(root), names):
        raise SlideError(f"{source} holds results of cartcls, no slides: name the folder of the cell crops")
    unlisted: dict[bytes, OSError] = {}
    for folder in chain(folders_with_images(root.resolve(), table, LeftOut(), unlisted.__setitem__), unlisted):
        yield Slide(os.path.join(root.resolve(), os.fsdecode(folder)).rstrip(os.sep) or os.sep)


def folder_of(slide: Slide) -> Folder:
    """Where the files of a slide are listed and read.

    Raises:
        SlideError: Its file system is not known, or cannot be reached.
    """
    return _Remote(slide) if slide.uri else _Local(slide)


class _Local:
    def __init__(self, slide: Slide):
        self._root = os.fsencode(slide.place)

    def files(self) -> list[File]:
        try:
            with os.scandir(self._root) as entries:
                names = [entry.name for entry in entries if not _is_folder(entry)]
        except OSError as error:
            raise SlideError(f"{readable_name(self._root)} cannot be read: {error.strerror}") from None
        return [self._file(name) for name in images_among(self._root, names, LeftOut())]

    def read(self, file: File, width: int, height: int, adjustment: Adjustment | None) -> Reading:
        return read_cell(os.path.join(self._root, file.name), width, height, adjustment)

    def _file(self, name: bytes) -> File:
        found = fingerprint(os.path.join(self._root, name))
        return File(name, found.size, found.mtime_ns) if found else File(name, -1, 0)


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    """Whether it is a folder, or a link to one, which is no part of an archive."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


class _Remote:
    def __init__(self, slide: Slide):
        self._slide = slide
        self._system, _ = _file_system(slide.uri)

    def files(self) -> list[File]:
        with _reached(self._slide.place, self._slide.uri):
            return _files(self._system, self._system.get_file_info(pyarrow.fs.FileSelector(self._slide.path)))

    def read(self, file: File, width: int, height: int, adjustment: Adjustment | None) -> Reading:
        found, suffix = Fingerprint(file.size, file.mtime_ns, 0, 0), os.path.splitext(os.fsdecode(file.name))[1]
        return read_bytes(lambda: self._read(file, found), suffix, width, height, adjustment, found=found)

    def _read(self, file: File, listed: Fingerprint) -> RawFile:
        if file.size > MAX_BYTES:
            raise ImageError(too_large(MAX_BYTES))
        try:
            with self._system.open_input_stream(posixpath.join(self._slide.path, os.fsdecode(file.name))) as stream:
                data = bytes(stream.read())
        except FileNotFoundError:
            raise IncompleteError("has vanished") from None
        except OSError as error:
            raise IncompleteError(f"cannot be read: {_first_line(error)}") from None
        if not data:
            raise IncompleteError("is empty (0 bytes)")
        return RawFile(data, hashlib.sha256(data).hexdigest(), replace(listed, size=len(data)))


def _file_system(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The file system of a URI, and the path in it.

    Raises:
        SlideError: It is not known, or cannot be reached.
    """
    limit = f"{'&' if '?' in uri else '?'}{RETRY_LIMIT}={RETRIED_FOR}"
    limited = uri + limit if uri.startswith(("gs://", "gcs://")) and RETRY_LIMIT not in uri else uri
    with _reached(_without_options(uri), limited):
        return pyarrow.fs.FileSystem.from_uri(limited)


def _without_options(uri: str) -> str:
    """A URI without user, password and options."""
    return re.sub("//[^/@]*@", "//", uri.partition("?")[0])


def _find_remote(uri: str, system: pyarrow.fs.FileSystem, root: str) -> Iterator[Slide]:
    """Slides of a file system that `pyarrow.fs` knows; one request for each folder."""
    start, scheme = root.rstrip("/"), f"{uri.partition(':')[0]}://"
    folders = [start]
    with _reached(_without_options(uri), uri):
        while folders:
            path = folders.pop()
            found = system.get_file_info(pyarrow.fs.FileSelector(path))
            names = {os.fsencode(info.base_name) for info in found}
            if path != start and is_output(os.fsencode(path), names):
                continue
            inner = [info.path for info in found if info.type == pyarrow.fs.FileType.Directory]
            inner = [folder for folder in inner if not is_left_out(os.fsencode(posixpath.basename(folder)))]
            folders += sorted(inner, reverse=True)
            if _files(system, found, at_most=1):
                yield Slide(f"{scheme}{path}", uri, path)


def _files(
    system: pyarrow.fs.FileSystem, found: Sequence[pyarrow.fs.FileInfo], at_most: int | None = None
) -> list[File]:
    """What may be images in a listing."""
    images = (info for info in found if info.is_file and _is_image(system, info))
    files = [File(os.fsencode(info.base_name), info.size, info.mtime_ns or 0) for info in islice(images, at_most)]
    return sorted(files)


def _is_image(system: pyarrow.fs.FileSystem, info: pyarrow.fs.FileInfo) -> bool:
    kind = kind_of(os.fsencode(info.base_name))
    if kind != "unknown":
        return kind == "image"
    try:
        with system.open_input_stream(info.path) as stream:
            return HEADS.match(bytes(stream.read(HEAD))) is not None
    except FileNotFoundError:
        return False
    except OSError:
        return True  # it gets a row with the reason


@contextmanager
def _reached(place: str, uri: str) -> Iterator[None]:
    """Turn what a file system says into one line, without the passwords of the URI."""
    try:
        yield
    except FileNotFoundError:
        raise SlideError(f"{place} is not a folder: name a folder of slides") from None
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise SlideError(f"{place} cannot be reached: {_first_line(error).replace(uri, place)}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
