"""Looks at the folder that a microscope writes to: which images are there, by slide, and what cannot be listed now."""

import os
from collections.abc import Callable
from pathlib import Path

from ..images.discover import find_images, readable_name
from ..images.left_out import LeftOut
from .recognize import is_below

Clock = Callable[[], float]

ALIVE = 1.0  # seconds between two signs of life during a look, at least


class CaptureFolder:
    """The folder that a microscope writes to, as it was at the last look.

    Attributes:
        away: Why it cannot be listed now; empty while it can.
        unlisted: Folders in it that cannot be listed now, relative to it.
    """

    def __init__(
        self,
        path: Path,
        out: Path,
        slide_level: int,
        clock: Clock,
        notify: Callable[[str], None],
        alive: Callable[[], None],
    ):
        """Nothing is looked at yet.

        Args:
            path: The folder.
            out: Folder of all reports, which is never searched.
            slide_level: Depth of the folders that are one slide each; images above it form one slide of their own.
            clock: Monotonic time in seconds.
            notify: Called with messages for the user.
            alive: Called now and then while a look goes on, because it may take long.
        """
        self._path, self._out, self._level = path, out, slide_level
        self._clock, self._notify, self._alive = clock, notify, alive
        self._alive_at = clock()
        self._warned_of_depth = False
        self._told: frozenset[str] = frozenset()  # what is left out
        self._found: set[bytes] = set()
        self._left_out = LeftOut()
        self.away = ""
        self.unlisted: set[bytes] = set()

    def look(self) -> dict[bytes, list[bytes]] | None:
        """List all images; says what is away, cannot be listed, is back, or is left out.

        Returns:
            Paths in the folder of each slide, by that folder, relative to this one; None while this one is away.
        """
        unlisted: dict[bytes, OSError] = {}
        left_out, look = LeftOut(), (self._path, self._out, unlisted.__setitem__, self.show_life)
        paths = list(find_images(*look, left_out=left_out, known=self._found, before=self._left_out))
        if not self._is_there(unlisted):
            return None
        self._found, self._left_out = set(paths), left_out
        if left_out.kinds - self._told:
            self._told |= left_out.kinds
            self._notify(str(left_out))
        by_slide: dict[bytes, list[bytes]] = {}
        for path in paths:
            root, inner = self._split(path)
            by_slide.setdefault(root, []).append(inner)
        return by_slide

    def is_unlisted(self, root: bytes, path: bytes) -> bool:
        """Whether a path in a slide's folder is in one that could not be listed at the last look."""
        return bool(self.unlisted) and is_below(os.path.join(root, path), self.unlisted)

    def show_life(self) -> None:
        """Called after each step of a look that succeeded: where a share hangs or fails, there are none."""
        if self._clock() - self._alive_at >= ALIVE:
            self._alive()
            self._alive_at = self._clock()

    def _is_there(self, unlisted: dict[bytes, OSError]) -> bool:
        """Whether the folder could be listed; says what could not be."""
        if reason := unlisted.get(b""):
            because = "" if isinstance(reason, FileNotFoundError) else f" ({reason.strerror})"
            if not self.away:
                self._notify(f"{self._path} is not there{because}: waiting for it")
            self.away = f"{self._path} is not there{because}"
            return False
        if self.away:
            self._notify(f"{self._path} is there again")
        self.away = ""
        for folder in sorted(unlisted.keys() - self.unlisted):
            self._notify(f"{readable_name(folder)} cannot be listed ({unlisted[folder].strerror}): waiting for it")
        self.unlisted = set(unlisted)
        return True

    def _split(self, path: bytes) -> tuple[bytes, bytes]:
        """Folder of the slide, relative to this one, and path in it."""
        parts = path.split(os.sep.encode())
        if len(parts) <= self._level:
            return b"", path
        if len(parts) > self._level + 1 and not self._warned_of_depth:
            self._warned_of_depth = True
            folder, slide = (readable_name(b"/".join(part)) for part in (parts[:-1], parts[: self._level]))
            self._notify(
                f"images in {folder} are part of the slide {slide}: if each folder in it is a slide, use"
                f" --slide-level {self._level + 1}"
            )
        return os.sep.encode().join(parts[: self._level]), os.sep.encode().join(parts[self._level :])
