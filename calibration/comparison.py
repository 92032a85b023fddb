"""How far two labellings of the same slides agree: cell by cell, or by independent counts."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import numpy as np

from ..runtime.bundle.bundle import Bundle
from ..runtime.bundle.manifest import CellClass
from ..runtime.statistics import wilson_interval
from .method_comparison import (
    BlandAltman,
    Ints,
    Kappa,
    PassingBablok,
    bland_altman,
    kappa_by_slide,
    passing_bablok,
    two_sample_limits,
    why_no_line,
)
from .references import LabelledCell, Labels

Pair = tuple[LabelledCell, LabelledCell]  # in the reports, in the reference
Interval = tuple[float, float]


@dataclass(frozen=True)
class LabelAgreement:
    """Agreement on one label, cell by cell.

    Attributes:
        label: Name of a class, or another label of the reference.
        reference: Cells with it in the reference.
        reports: Cells with it in the reports.
        both: Cells with it in both.
        sensitivity: Share of the reference's that the reports call so; None where the reference has none.
        sensitivity_interval: 95 % Wilson interval.
        specificity: Share of the reference's others that the reports call otherwise; None where there are none.
        specificity_interval: Likewise.
    """

    label: str
    reference: int
    reports: int
    both: int
    sensitivity: float | None
    sensitivity_interval: Interval
    specificity: float | None
    specificity_interval: Interval


@dataclass(frozen=True)
class SameCells:
    """Two labels of each cell.

    Attributes:
        slides: Names of the slides, in order.
        labels: Labels in order: those of the bundle's classes that occur, then others.
        tables: Counts by slide, (S, K, K): rows are the reference, columns the reports.
        pairs: The cells, each in the reports and in the reference.
        only_reports: Cells of the reports that the reference does not have.
        only_reference: Cells of the reference that the reports do not have.
    """

    slides: list[str]
    labels: list[str]
    tables: Ints
    pairs: list[Pair]
    only_reports: int
    only_reference: int

    @property
    def confusion(self) -> list[list[int]]:
        """Counts of all slides."""
        return self.tables.sum(0).tolist()

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(self.tables.sum())

    @property
    def agreed(self) -> int:
        """Number of cells with the same label in both."""
        return int(self.tables.sum(0).trace())

    @property
    def agreed_interval(self) -> Interval:
        """95 % Wilson interval of their share."""
        return wilson_interval(self.agreed, self.cells)

    @cached_property
    def kappa(self) -> Kappa:
        """Cohen's κ."""
        return kappa_by_slide(self.tables)

    @property
    def rows(self) -> list[LabelAgreement]:
        """Agreement by label."""
        return [_agreement(label, at, self.tables.sum(0)) for at, label in enumerate(self.labels)]


@dataclass(frozen=True)
class SlideCount:
    """Counts of one class on one slide.

    Attributes:
        slide: Name of the slide.
        count: Cells of the class in the reports.
        cells: Cells that its percentage is of.
        reference: Cells of the class in the reference.
        reference_cells: Cells that its percentage is of.
        limits: Two-sample limits of the reports' percentage, given the reference.
    """

    slide: str
    count: int
    cells: int
    reference: int
    reference_cells: int
    limits: Interval

    @property
    def percent(self) -> float:
        """In the reports."""
        return 100 * self.count / self.cells

    @property
    def reference_percent(self) -> float:
        """In the reference."""
        return 100 * self.reference / self.reference_cells

    @property
    def within(self) -> bool:
        """Whether the reports' percentage is within the limits."""
        return self.limits[0] <= self.percent <= self.limits[1]


@dataclass(frozen=True)
class ClassCounts:
    """Independent counts of one class.

    Attributes:
        entry: The class.
        slides: One for each slide, in order.
        median: Of the reference's percentages.
        agreement: Bland–Altman's limits of the differences of percentages, reports less reference; None of one slide.
        line: Passing–Bablok regression of the reports on the reference; None where there is none.
        why_no_line: Why; empty where there is one.
    """

    entry: CellClass
    slides: list[SlideCount]
    median: float
    agreement: BlandAltman | None
    line: PassingBablok | None
    why_no_line: str

    @property
    def outside(self) -> int:
        """Number of slides outside their two-sample limits."""
        return sum(not slide.within for slide in self.slides)


@dataclass(frozen=True)
class Counts:
    """Independent counts of the same slides.

    Attributes:
        slides: Names of the slides that both have, in order.
        only_reports: Names of slides without cells in the reference.
        only_reference: Names of the reference's slides that the reports do not have.
        classes: In the order of a report.
        others: Cells of the reference by labels that are in no percentage.
    """

    slides: list[str]
    only_reports: list[str]
    only_reference: list[str]
    classes: list[ClassCounts]
    others: dict[str, int]

    @property
    def checked(self) -> int:
        """Number of percentages that were compared."""
        return sum(len(counts.slides) for counts in self.classes)

    @property
    def outside(self) -> int:
        """How many of them are outside their limits."""
        return sum(counts.outside for counts in self.classes)


def same_cells(reports: Labels, reference: Labels, bundle: Bundle) -> SameCells | None:
    """Compare the labels of the cells that both have; None where they have no cell in common.

    A cell is the same where slide, bytes and box are, or bytes and box, or slide and path of a file that is one cell.
    """
    pairs = _pairs(reports.cells, reference.cells)
    if not pairs:
        return None
    found = {cell.label for pair in pairs for cell in pair}
    classes = [entry.name for entry in bundle.manifest.classes_as_read if entry.name in found]
    labels = [*classes, *sorted(found.difference(classes))]
    slides = sorted({given.slide for given, _ in pairs})
    tables = np.zeros((len(slides), len(labels), len(labels)), np.int64)
    for given, true in pairs:
        tables[slides.index(given.slide), labels.index(true.label), labels.index(given.label)] += 1
    return SameCells(slides, labels, tables, pairs, len(reports.cells) - len(pairs), len(reference.cells) - len(pairs))


def compare_counts(reports: Labels, reference: Labels, bundle: Bundle) -> Counts:
    """Compare independent counts of the slides that both have, by name.

    Percentages are of leukocytes, as in a report; of all cells where the bundle knows no leukocytes.
    """
    classes = bundle.manifest.classes_as_read
    whole = [entry for entry in classes if entry.kind == "leukocyte"] or list(classes)
    names = {entry.name for entry in whole}
    ours, theirs = _by_slide(reports.cells), _by_slide(reference.cells)
    both = [slide for slide in sorted(ours.keys() & theirs.keys()) if _total(ours, slide, names)]
    both = [slide for slide in both if _total(theirs, slide, names)]
    found = [_counts(entry, both, ours, theirs, names) for entry in whole]
    known = {entry.name for entry in classes}
    others = Counter(cell.label for cell in reference.cells if cell.label not in known)
    alone = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    return Counts(both, *alone, found, dict(others.most_common()))


def _pairs(reports: Sequence[LabelledCell], reference: Sequence[LabelledCell]) -> list[Pair]:
    by_bytes, by_path = dict[tuple[object, ...], LabelledCell](), dict[tuple[str, str], list[LabelledCell]]()
    for cell in reference:
        if cell.sha256:
            by_bytes[cell.slide, cell.sha256, cell.box] = by_bytes[cell.sha256, cell.box] = cell
        elif cell.path:
            by_path.setdefault((cell.slide, cell.path), []).append(cell)
    in_file = Counter((cell.slide, cell.path) for cell in reports)
    pairs = []
    for cell in reports:
        found = by_bytes.get((cell.slide, cell.sha256, cell.box)) or by_bytes.get((cell.sha256, cell.box))
        key = cell.slide, cell.path
        if found is None and cell.box is None and in_file[key] == len(by_path.get(key, ())) == 1:
            (found,) = by_path[key]
        if found is not None:
            pairs.append((cell, found))
    return pairs


def _agreement(label: str, at: int, confusion: Ints) -> LabelAgreement:
    cells, both = int(confusion.sum()), int(confusion[at, at])
    true, given = int(confusion[at].sum()), int(confusion[:, at].sum())
    others, right = cells - true, cells - true - given + both
    return LabelAgreement(
        label,
        true,
        given,
        both,
        both / true if true else None,
        wilson_interval(both, true),
        right / others if others else None,
        wilson_interval(right, others),
    )


def _by_slide(cells: Iterable[LabelledCell]) -> dict[str, Counter[str]]:
    counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for cell in cells:
        counted[cell.slide][cell.label] += 1
    return dict(counted)


def _total(counted: dict[str, Counter[str]], slide: str, names: Iterable[str]) -> int:
    return sum(counted[slide][name] for name in names)


def _counts(
    entry: CellClass,
    slides: Sequence[str],
    ours: dict[str, Counter[str]],
    theirs: dict[str, Counter[str]],
    names: set[str],
) -> ClassCounts:
    rows = []
    for slide in slides:
        cells, reference_cells = _total(ours, slide, names), _total(theirs, slide, names)
        count, reference = ours[slide][entry.name], theirs[slide][entry.name]
        low, high = (100 * end / cells for end in two_sample_limits(reference, reference_cells, cells))
        rows.append(SlideCount(slide, count, cells, reference, reference_cells, (low, high)))
    given, true = [row.percent for row in rows], [row.reference_percent for row in rows]
    why = why_no_line(true)
    line = None if why else passing_bablok(true, given)
    return ClassCounts(
        entry,
        rows,
        median(true) if true else 0.0,
        bland_altman(given, true),
        line,
        "" if line else why or "the pairs tell no line",
    )
