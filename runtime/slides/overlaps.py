"""Cells that are in two fields of a slide, because these overlap: each is counted once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..fields.find import Found
from ..fields.overlap import same_cells, shift_between
from ..fields.plane import Plane
from ..ledger.records import Cell, Result
from ..ledger.slide_ledger import SlideLedger

COMPARED = 200  # fields of the slide before a new one that it is compared with


def same_cell_as(seq: int) -> str:
    """The reason of a duplicate, which is counted in another row."""
    return f"same cell as no. {seq}"


class Overlaps:
    """The fields of a slide that have their rows, to find those that a new one overlaps."""

    def __init__(self, ledger: SlideLedger):
        """Nothing is read yet."""
        self._ledger = ledger
        self._planes: dict[int, Plane] | None = None

    def marked(self, results: Sequence[Result], diameter: float) -> tuple[list[Result], list[Cell]]:
        """Mark cells that another row counts already as its duplicates.

        Of the two, the one that a person has labelled is counted, the later of two labels; else the one that no border
        cuts; else the earlier one. A row that becomes a duplicate is kept as it would be as the version before.

        Args:
            results: Results that are to be saved, with their rows.
            diameter: Of a red cell in the fields, in pixels.

        Returns:
            The results, and rows of other images that change with them.
        """
        if self._planes is None:
            packed = self._ledger.planes(COMPARED)
            self._planes = {image: Plane.unpack(plane) for image, plane in packed.items()}
        planes = self._planes
        rows = _Rows(self._ledger)
        for result in results:
            planes.pop(result.image.id, None)
            rows.add(result)
        for result in results:
            rows.release(result)
        for result in results:
            if result.field and result.field.plane:
                plane = Plane.unpack(result.field.plane)
                if any(cell.can_be_corrected for cell in result.cells):
                    _compare(result.image.id, plane, planes, rows, diameter)
                planes[result.image.id] = plane
                if len(planes) > COMPARED:
                    del planes[next(iter(planes))]
        return [replace(result, cells=rows.of(result)) for result in results], rows.others()


def _compare(image: int, plane: Plane, others: Mapping[int, Plane], rows: "_Rows", diameter: float) -> None:
    """Compare a field with others, and join the rows of the cells that are in both."""
    for other, its_plane in others.items():
        if shift := shift_between(its_plane, plane):
            first, second = rows.of_image(other), rows.of_image(image)
            sizes = (its_plane.width, its_plane.height), (plane.width, plane.height)
            for i, j in same_cells(_found(first), _found(second), shift, *sizes, diameter):
                rows.join(first[i].seq, second[j].seq)


class _Rows:
    """Rows as they are to be saved, by number."""

    def __init__(self, ledger: SlideLedger):
        self._ledger = ledger
        self._own: dict[int, list[int]] = {}  # numbers of the rows that are to be saved anyway, by image
        self._before: dict[int, Cell] = {}
        self._now: dict[int, Cell] = {}

    def add(self, result: Result) -> None:
        """Add the rows of a result."""
        self._own[result.image.id] = [cell.seq for cell in result.cells]
        self._before.update((cell.seq, cell) for cell in result.cells)
        self._now.update((cell.seq, cell) for cell in result.cells)

    def release(self, result: Result) -> None:
        """Let one row of another image count again of those that were duplicates of an earlier row of a result."""
        for seq in [cell.seq for cell in result.cells] if result.image.seq is not None else []:
            again = [row for row in self._ledger.same_cells_as([seq]) if row.seq not in self._now]
            for row in self._load(again):
                if before := self._ledger.last_counted(row):  # under the path that its file has now
                    self._now[row.seq] = replace(row, status=before.status, reason=before.reason, same_cell_as=None)
            for row in again[1:]:
                self.join(again[0].seq, row.seq)

    def of(self, result: Result) -> list[Cell]:
        """Rows of a result, in the order of their versions."""
        own = self._own[result.image.id]
        changed = [self._now[seq] for seq in own if self._now[seq] is not self._before[seq]]
        return [*(self._before[seq] for seq in own), *changed]

    def others(self) -> list[Cell]:
        """Rows that are of none of the results, and change."""
        own = {seq for numbers in self._own.values() for seq in numbers}
        return [cell for seq, cell in self._now.items() if seq not in own and cell is not self._before[seq]]

    def of_image(self, image: int) -> list[Cell]:
        """Rows of a field's cells, without those that count nowhere."""
        if image in self._own:
            rows = [self._now[seq] for seq in self._own[image]]
        else:
            rows = self._load(self._ledger.rows_of(image))
        return [row for row in rows if row.box and (row.can_be_corrected or _is_counted_elsewhere(row))]

    def join(self, earlier: int, later: int) -> None:
        """Let one of two rows of the same cell be a duplicate of the other one."""
        first, second = self._counted(earlier), self._counted(later)
        if first is None or second is None or first.seq == second.seq:
            return
        if _worth(second) > _worth(first):
            first, second = second, first
        self._load(self._ledger.same_cells_as([second.seq]))
        follow = [row for row in self._now.values() if row.same_cell_as == second.seq and _is_counted_elsewhere(row)]
        for row in (second, *follow):
            reason = same_cell_as(first.seq)
            self._now[row.seq] = replace(row, status="duplicate", reason=reason, same_cell_as=first.seq)

    def _counted(self, seq: int) -> Cell | None:
        """The row that counts a cell; None where none does."""
        row = self._now[seq]
        if row.same_cell_as is not None and _is_counted_elsewhere(row):
            (row,) = self._load([self._now.get(row.same_cell_as) or self._ledger.row(row.same_cell_as)])
        return row if row.can_be_corrected else None

    def _load(self, rows: Sequence[Cell]) -> list[Cell]:
        """Rows of the ledger as they are now."""
        for row in rows:
            self._before.setdefault(row.seq, row)
            self._now.setdefault(row.seq, row)
        return [self._now[row.seq] for row in rows]


def _worth(row: Cell) -> tuple[str, bool]:
    """Of two rows of a cell, the one with the greater worth is counted: UTC of its label, and whether it is whole."""
    return row.corrected_at or "", not row.at_edge


def _is_counted_elsewhere(row: Cell) -> bool:
    return row.status == "duplicate" and row.same_cell_as is not None


def _found(rows: Sequence[Cell]) -> list[Found]:
    return [Found(*row.box) for row in rows if row.box]
