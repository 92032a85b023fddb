"""Reads `slide.toml`, in which a laboratory says what a slide is; the ledger keeps it.

The ledger, and not the file: reports are rebuilt where the folder of the slide is away, and what a page once showed
does not vanish because a disk was tidied. A file that cannot be used changes nothing but the warning.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from ..images.decode import Fingerprint, fingerprint
from ..ledger.slide_info import SlideInfo
from ..ledger.slide_ledger import SlideLedger

SLIDE_INFO = "slide.toml"
LARGEST = 64 * 1024  # bytes
LONGEST = 300  # letters of a problem
FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class SlideInfoError(ValueError):
    """The file cannot be used; the message says why."""


class SlideInfoFile:
    """The file of one slide."""

    def __init__(self, slide_dir: Path, ledger: SlideLedger, notify: Callable[[str], None]):
        """Read it for the first time; see `note`.

        Args:
            slide_dir: Folder of the slide.
            ledger: Of the slide.
            notify: Called with a warning where the file cannot be used.
        """
        self._file, self._ledger, self._notify = slide_dir / SLIDE_INFO, ledger, notify
        self._seen: Fingerprint | None = None
        self._told = ""
        self.note()

    def note(self, alive: Callable[[], None] = lambda: None) -> bool:
        """Record what the file says, where it has changed since it was last read.

        What it said before stays, where it is gone or cannot be used any more.

        Args:
            alive: Called once the folder has answered whether there is a file.

        Returns:
            Whether the ledger says something else now.

        Raises:
            OSError: It cannot be recorded.
        """
        found: Fingerprint | None = None
        try:
            os.lstat(self._file)
            found = fingerprint(self._file)
        except FileNotFoundError:
            pass
        except OSError:  # its share does not answer
            return False
        alive()
        facts = self._ledger.facts()
        if found is not None and found == self._seen:
            return False
        self._seen, changed = found, replace(facts, info_problem="")
        if found is not None:
            try:
                changed = replace(changed, info=read_slide_info(self._file))
            except SlideInfoError as error:
                self._seen, changed = None, replace(facts, info_problem=str(error))  # and read again
                self._tell(f"{self._ledger.slide.name}: warning: {SLIDE_INFO} cannot be used: {error}")
        if changed == facts:
            return False
        self._ledger.settle(changed)
        return True

    def _tell(self, line: str) -> None:
        if line != self._told:
            self._told = line
            self._notify(line)


def read_slide_info(file: Path) -> SlideInfo:
    """Read what a laboratory says of a slide.

    Raises:
        SlideInfoError: The file is not regular, too large, no TOML, or says something else than a slide's facts.
    """
    try:
        return _parsed(_content(file))
    except OSError as error:
        raise SlideInfoError(f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SlideInfoError("it is not UTF-8") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise SlideInfoError(" ".join(str(error).split())[:LONGEST]) from None


def _content(file: Path) -> bytes:
    descriptor = os.open(file, FLAGS)
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SlideInfoError("it is no regular file")
        data = handle.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise SlideInfoError(f"it is larger than {LARGEST // 1024} KiB")
    return data.removeprefix(b"\xef\xbb\xbf")


def _parsed(data: bytes) -> SlideInfo:
    found = msgspec.toml.decode(data)
    known = SlideInfo.__struct_fields__
    if unknown := sorted(found.keys() - set(known)):
        raise SlideInfoError(f"it has the unknown key {unknown[0]!r}: the keys are {', '.join(known)}")
    return msgspec.convert(found, SlideInfo)
