"""What became of the files of images that have rows: touched, moved, exchanged, gone, or back.

Rows follow their bytes: where those lie under another name, the image takes that path, with its rows, corrections and
thumbnails. Files are read and hashed only where their size is that of bytes that are looked for; none is decoded.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import ImageError, SlideError
from ..images.decode import Fingerprint, fingerprint, hash_file
from ..images.discover import needs_encoding, readable_name
from ..images.tiff_large import MAX_LARGE_BYTES
from ..ledger.records import WAITING, Cell, LedgerImage
from ..ledger.slide_ledger import SlideLedger
from .pipeline import same_bytes_as

GONE = "its file is no longer in the slide's folder"


@dataclass(frozen=True)
class _File:
    sha256: str
    fingerprint: Fingerprint


def _is_copy(row: Cell) -> bool:
    """Whether it is a duplicate because another file has the same bytes."""
    return row.status == "duplicate" and row.same_cell_as is None


def is_below(path: bytes, folders: Iterable[bytes]) -> bool:
    """Whether a path is in one of these folders, all relative to the same one, which is empty."""
    return any(not folder or path.startswith(os.path.join(folder, b"")) for folder in folders)


class Recognition:
    """What became of files. Nothing is in the ledger before `save`.

    Attributes:
        rows: Rows that change, by number.
        settled: Paths whose file belongs to an image that has its rows: nothing there is to be classified.
        moved: How many images took another path with their bytes.
    """

    def __init__(self, ledger: SlideLedger, root: bytes, known: Mapping[bytes, LedgerImage]):
        """Nothing is looked at yet.

        Args:
            ledger: Ledger of the slide.
            root: Folder of the slide.
            known: Its images by path.
        """
        self.rows: dict[int, Cell] = {}
        self.settled: set[bytes] = set()
        self.moved = 0
        self._ledger, self._root, self._known = ledger, root, known
        self._opened: Sequence[bytes] = ()
        self._images: dict[int, LedgerImage] = {}
        self._there: dict[bytes, LedgerImage | None] = {}
        self._forgotten: list[LedgerImage] = []

    @property
    def paths(self) -> set[bytes]:
        """Paths at which something has changed."""
        return {*self._there, *(image.path for image in self._changed()), *self.new}

    @property
    def new(self) -> list[bytes]:
        """Opened files that belong to no image, or to one that had vanished."""
        return [path for path, image in self._unsettled() if image is None or image.state == "vanished"]

    def recognize_all(self, paths: Sequence[bytes], unlisted: Collection[bytes], anew: str) -> int:
        """Find the rows that the bytes of all files in the slide's folder belong to, and mark the other rows as gone.

        Args:
            paths: All images in the folder.
            unlisted: Folders in it that cannot be listed: what is in them is not gone.
            anew: Command that starts the slide anew.

        Returns:
            How many images are gone.

        Raises:
            SlideError: More than half of the images that have a label are gone.
        """
        there = set(paths)
        with_rows = [image for image in self._known.values() if image.seq is not None]

        def is_away(image: LedgerImage) -> bool:
            return image.path not in there and not is_below(image.path, unlisted)

        lost = list(filter(is_away, with_rows))
        self.recognize([path for path in paths if self._is_open(path)], lost)
        self.take_over(lost)
        present = [image for image in map(self._now, with_rows) if image.state != "gone"]
        gone = list(filter(is_away, present))
        if gone:
            self._refuse_if_most(gone, present, anew)
        self._mark_gone(gone)
        return len(gone)

    def recognize(
        self, opened: Sequence[bytes], lost: Iterable[LedgerImage], alive: Callable[[], None] = lambda: None
    ) -> None:
        """Find the rows that the bytes of files belong to.

        Args:
            opened: Files that are new, back, or may have changed.
            lost: Images that have rows, and whose file is not there.
            alive: Called after each file that could be read.
        """
        self._opened = opened
        sizes = {path: found.size for path in opened if (found := fingerprint(self._file(path)))}
        wanted = set(sizes.values())
        own = [image for path in sizes if (image := self._known.get(path)) and image.seq is not None]
        away = [image for image in lost if image.fingerprint and image.fingerprint.size in wanted]
        looked_for = {image.fingerprint.size for image in (*own, *away) if image.fingerprint}
        files: dict[bytes, _File] = {}
        for path, size in sizes.items():
            if size in looked_for and (file := self._read(path)):
                files[path] = file
                alive()
        displaced = [image for image in own if self._is_displaced(image, sizes, files)]
        self._match([*displaced, *away], files)
        self.take_over(displaced)

    def take_over(self, images: Iterable[LedgerImage]) -> None:
        """Let an image whose bytes are no longer at its path, but at that of a duplicate, exchange paths with it."""
        displaced = list(images)
        repeated = self._ledger.repeated() if displaced else set[int]()
        for image in (self._now(image) for image in displaced if image.id in repeated):
            cells = self._rows_of(image)
            if image.path in self.settled or not any(cell.can_be_corrected for cell in cells) or not cells[0].sha256:
                continue
            for other, row in self._same_bytes(cells[0].sha256):
                file = self._read(other.path) if _is_copy(row) and other.state not in WAITING else None
                if file and file.sha256 == cells[0].sha256:
                    self._arrive(image, other.path, file)
                    break

    def save(self) -> None:
        """Write it to the ledger, and queue the images whose file holds other bytes now."""
        if self._images:
            self._ledger.rearrange(self._images.values(), self.rows.values(), self._forgotten)
        if changed := self._changed():
            self._ledger.requeue(changed)

    def _is_open(self, path: bytes) -> bool:
        """Whether it is not known what a file holds now."""
        image = self._known.get(path)
        if image is None or image.state in (*WAITING, "vanished", "gone"):
            return True
        found = fingerprint(self._file(path))
        return found is not None and found != image.fingerprint

    def _unsettled(self) -> list[tuple[bytes, LedgerImage | None]]:
        """Opened files that hold the bytes of no row, and their images."""
        return [(path, self._at(path)) for path in self._opened if path not in self.settled]

    def _changed(self) -> list[LedgerImage]:
        """Images of such files whose row is about other bytes."""
        images = [image for _, image in self._unsettled() if image]
        return [image for image in images if image.seq is not None and image.state not in WAITING]

    def _refuse_if_most(self, gone: Sequence[LedgerImage], present: Sequence[LedgerImage], anew: str) -> None:
        """Refuse where over half of the cells are gone: a row without a label may be that of a folder or of no cell."""
        labelled = {cell.seq for cell in self._ledger.cells() if cell.label}
        lost, all_of_them = (sum(image.seq in labelled for image in images) for images in (gone, present))
        if 2 * lost > all_of_them:
            raise SlideError(
                f"{lost} of {all_of_them} images that have a label are gone from {os.fsdecode(self._root)}: nothing was"
                " changed. If its disk or share is away, run this again when it is back; if they were deleted, start"
                f" this slide anew, which keeps the old report, with the other options as now: {anew}"
            )

    def _mark_gone(self, images: Iterable[LedgerImage]) -> None:
        """Mark images as gone, and their rows as not counted."""
        for image in images:
            self._place(replace(image, state="gone"))
            for cell in self._rows_of(image):
                if cell.status != "gone":
                    self.rows[cell.seq] = replace(cell, status="gone", reason=GONE)

    def _is_displaced(self, image: LedgerImage, sizes: dict[bytes, int], files: dict[bytes, _File]) -> bool:
        """Whether a row's bytes are no longer at its path; a file that was only touched gets its new fingerprint."""
        file = files.get(image.path)
        if file is None:  # of another size; of the same size, it could not be read now
            return image.fingerprint is None or image.fingerprint.size != sizes[image.path]
        if file.sha256 != self._rows_of(image)[0].sha256 or image.state == "gone":
            return True
        del files[image.path]
        if image.state not in WAITING:
            self._place(replace(image, fingerprint=file.fingerprint))
            self.settled.add(image.path)
        return False

    def _match(self, displaced: Sequence[LedgerImage], files: Mapping[bytes, _File]) -> None:
        """Let images go where their bytes are; of equal ones, those that were counted come first."""
        places: defaultdict[str, list[bytes]] = defaultdict(list)
        for path in sorted(files):
            places[files[path].sha256].append(path)
        digests = {image.id: self._rows_of(image)[0].sha256 for image in displaced}
        found = [image for image in displaced if digests[image.id] in places]
        for image in sorted(found, key=lambda image: (not self._was_counted(image), image.seq)):
            if free := places[digests[image.id] or ""]:
                path = image.path if image.path in free else free[0]
                free.remove(path)
                self._arrive(self._now(image), path, files[path])

    def _arrive(self, image: LedgerImage, path: bytes, file: _File) -> None:
        """Let an image have the path at which its bytes are; the image that was there gets its old one."""
        cells, state = self._rows_of(image), image.state
        if state == "gone":
            first = next((row for _, row in self._same_bytes(file.sha256) if row.can_be_corrected), None)
            back = None if cells[0].box else self._restored(cells[0], first)  # a field is compared with others again
            cells, state = ([back], "reported") if back else (cells, "seen")
        elif state == "rejected" or self._is_copy_of_nothing(cells, file.sha256):
            state = "seen"  # the reason of a rejection may have been its name
        if path != image.path:
            other, self._there[image.path] = self._at(path), None
            if other and other.seq is None:
                self._forgotten.append(other)
            elif other:
                self._place(replace(other, path=image.path), self._rows_of(other))
            self.moved += 1
        self._place(replace(image, path=path, state=state, fingerprint=file.fingerprint), cells)
        if state not in WAITING:
            self.settled.add(path)
        if any(cell.can_be_corrected for cell in cells):
            for _, row in self._same_bytes(file.sha256):
                if _is_copy(row):
                    self.rows[row.seq] = replace(row, reason=same_bytes_as(readable_name(path)))

    def _is_copy_of_nothing(self, cells: Sequence[Cell], sha256: str) -> bool:
        """Whether rows are those of a copy, and no file with these bytes has others."""
        same = self._same_bytes(sha256) if any(map(_is_copy, cells)) else []
        others = [row for image, row in same if image.state not in WAITING and row.status != "gone"]
        return bool(same) and all(map(_is_copy, others))

    def _restored(self, cell: Cell, first: Cell | None) -> Cell | None:
        """A row that was gone, as it counts now; None if the image must be classified again to know."""
        if first:
            return replace(cell, status="duplicate", reason=same_bytes_as(first.path))
        before = self._ledger.last_counted(cell)
        return replace(cell, status=before.status, reason=before.reason) if before else None

    def _at(self, path: bytes) -> LedgerImage | None:
        """The image of a path, now."""
        return self._there[path] if path in self._there else self._known.get(path)

    def _now(self, image: LedgerImage) -> LedgerImage:
        """An image as it is now."""
        return self._images.get(image.id, image)

    def _place(self, image: LedgerImage, cells: Iterable[Cell] = ()) -> None:
        """Note an image as it is now, and its rows under its path."""
        self._images[image.id] = self._there[image.path] = image
        name, encoded = readable_name(image.path), needs_encoding(image.path)
        self.rows.update((cell.seq, replace(cell, path=name, path_encoded=encoded)) for cell in cells)

    def _was_counted(self, image: LedgerImage) -> bool:
        return any(
            cell.can_be_corrected or (cell.status == "gone" and self._ledger.last_counted(cell) is not None)
            for cell in self._rows_of(image)
        )

    def _rows_of(self, image: LedgerImage) -> list[Cell]:
        return [self.rows.get(cell.seq, cell) for cell in self._ledger.rows_of(image.id)]

    def _same_bytes(self, sha256: str) -> list[tuple[LedgerImage, Cell]]:
        found = self._ledger.same_bytes(sha256)
        return [(self._now(image), self.rows.get(cell.seq, cell)) for image, cell in found]

    def _read(self, path: bytes) -> _File | None:
        try:
            return _File(*hash_file(self._file(path), MAX_LARGE_BYTES))
        except ImageError:  # its row will say why
            return None

    def _file(self, path: bytes) -> bytes:
        return os.path.join(self._root, path)
