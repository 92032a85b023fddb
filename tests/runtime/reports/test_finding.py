from dataclasses import replace

import pytest
from samples import a_cell

from cartcls.runtime.bundle.manifest import CellClass
from cartcls.runtime.ledger.records import Cell
from cartcls.runtime.reports.finding import FEWEST_CELLS, SHOWN, finding

TWO = [CellClass("car-t", "CAR-T cell", "other", "#000001"), CellClass("b", "B cell", "other", "#000002")]


def cells_of(**counts: int) -> list[Cell]:
    """As many cells of each label; `t` stands for `car-t`."""
    labels = [{"t": "car-t"}.get(name, name) for name, count in counts.items() for _ in range(count)]
    return [replace(a_cell(seq), label=label) for seq, label in enumerate(labels, 1)]


def test_cells_are_counted_by_label():
    found = finding(cells_of(t=37, b=3), TWO)
    assert found.sentence == "37 of 40 cells labelled CAR-T cell"
    assert (found.cells, found.most, found.against, found.warning) == (40, "car-t", 3, None)
    assert [(row.name, row.title, row.count) for row in found.rows] == [("car-t", "CAR-T cell", 37), ("b", "B cell", 3)]
    assert found.shown == [38, 39, 40]


def test_what_a_person_labelled_speaks_against_it_first_and_then_what_the_model_is_surest_of():
    cells = cells_of(t=30, b=4)
    cells[30] = replace(cells[30], probabilities=(0.4, 0.6))
    cells[31] = replace(cells[31], probabilities=(0.1, 0.9))
    cells[32] = replace(cells[32], probabilities=(0.45, 0.55), corrected_label="b")
    cells[33] = replace(cells[33], probabilities=(0.3, 0.7), corrected_label="unsure")
    cells[0] = replace(cells[0], probabilities=(0.8, 0.2), corrected_label="other: blast")
    found = finding(cells, TWO)
    assert found.shown == [1, 33, 32, 34, 31]
    assert (found.sentence, found.against) == ("29 of 34 cells labelled CAR-T cell", 5)


def test_what_is_not_counted_speaks_neither_for_nor_against_it():
    cells = cells_of(t=20, b=3)
    cells[20] = replace(cells[20], status="gone")
    cells[21] = replace(cells[21], corrected_label="not a cell")
    cells[22] = replace(cells[22], status="duplicate")
    found = finding(cells, TWO)
    assert (found.sentence, found.against, found.shown) == ("20 of 20 cells labelled CAR-T cell", 0, [])


def test_no_more_than_some_are_shown():
    found = finding(cells_of(t=60, b=40), TWO)
    assert (found.against, len(found.shown)) == (40, SHOWN)


def test_nothing_speaks_against_what_has_no_more_cells_than_another():
    found = finding(cells_of(t=15, b=15), TWO)
    assert found.sentence == "15 of 30 cells labelled CAR-T cell, 15 labelled B cell"
    assert (found.most, found.against, found.shown) == (None, 0, [])


def test_a_label_that_only_people_gave_may_have_most_cells():
    cells = [replace(cell, corrected_label="other: blast") for cell in cells_of(t=21)] + cells_of(b=2)
    found = finding(cells, TWO)
    assert (found.sentence, found.most) == ("21 of 23 cells labelled other: blast", "other: blast")
    assert found.against == 2
    assert sum(row.count for row in found.rows) == 2


@pytest.mark.parametrize(
    ("count", "sentence", "warning"),
    [
        (0, "no cell counted", None),
        (1, "1 of 1 cell labelled B cell", "only 1 cell: a finding needs at least 20"),
        (4, "4 of 4 cells labelled B cell", "only 4 cells: a finding needs at least 20"),
        (FEWEST_CELLS, "20 of 20 cells labelled B cell", None),
    ],
)
def test_few_cells_are_warned_of(count: int, sentence: str, warning: str | None):
    found = finding(cells_of(b=count), TWO)
    assert (found.sentence, found.warning) == (sentence, warning)
    assert (found.most is None) == (count == 0)
