from collections import Counter

import pytest

from cartcls.runtime.bundle.manifest import CellClass, Kind
from cartcls.runtime.ledger.slide_info import SlideInfo
from cartcls.runtime.reports.differential import DifferentialRow, absolute_counts, differential
from cartcls.runtime.reports.estimate import estimate

CLASSES = [
    CellClass("lymphocyte", "lymphocyte", "leukocyte", "#000001"),
    CellClass("neutrophil", "neutrophil", "leukocyte", "#000002"),
    CellClass("erythroblast", "erythroblast", "nrbc", "#000003"),
    CellClass("platelet", "platelet", "platelet", "#000004"),
]


def test_percentages_are_of_leukocytes_and_red_cells_per_hundred_of_them():
    counted = differential(Counter(lymphocyte=50, neutrophil=150, erythroblast=10, platelet=400), CLASSES)
    rows = {row.name: row for row in counted.rows}
    assert counted.leukocytes == 200
    assert counted.warning is None
    assert rows["lymphocyte"].percent == 25
    assert rows["lymphocyte"].interval == pytest.approx([19.16, 31.60], abs=0.01)  # Clopper–Pearson
    assert rows["erythroblast"].per_100_leukocytes == 5
    assert rows["erythroblast"].interval == pytest.approx([2.36, 9.39], abs=0.01)
    assert (counted.errors_counted, rows["lymphocyte"].expected, rows["platelet"].interval) == (False, None, None)
    assert (rows["platelet"].count, rows["platelet"].percent) == (400, None)


def test_fewer_than_a_hundred_leukocytes_are_warned_of():
    few = differential(Counter(lymphocyte=99, platelet=500), CLASSES)
    assert few.warning is not None and "only 99 leukocytes" in few.warning
    nothing = differential(Counter(), CLASSES)
    assert {row.percent for row in nothing.rows} == {None}


def rows_of(labels: Counter[str], classes: list[CellClass], errors: list[list[int]]) -> dict[str, DifferentialRow]:
    names = [entry.name for entry in reversed(classes)]  # a bundle has its own order
    found = differential(labels, classes, estimate(labels, {}, names, [row[::-1] for row in reversed(errors)]))
    assert found.errors_counted
    return {row.name: row for row in found.rows}


def test_the_estimate_stands_where_it_differs_from_the_count():
    labels = Counter(lymphocyte=5, neutrophil=195, erythroblast=10, platelet=20)
    wrong = [[100_000, 0, 0, 0], [2_000, 98_000, 0, 0], [0, 0, 99_999, 1], [0, 0, 0, 100_000]]
    rows = rows_of(labels, CLASSES, wrong)
    assert (rows["lymphocyte"].count, rows["lymphocyte"].expected) == (5, (0, 4))  # 4 of 200 neutrophils are called so
    assert rows["neutrophil"].expected == (196, 200)
    assert (rows["erythroblast"].expected, rows["platelet"].expected) == (None, None)
    assert rows["lymphocyte"].interval is not None
    assert rows["lymphocyte"].interval[0] == 0
    assert rows["platelet"].interval is None


@pytest.mark.parametrize("right", [1, 95, 1_000_000])
def test_no_interval_is_narrower_than_that_of_chance(right: int):
    kinds: tuple[Kind, ...] = ("leukocyte", "leukocyte", "nrbc")
    classes = [CellClass(name, name, kind, "#000001") for name, kind in zip("abc", kinds, strict=True)]
    labels = Counter(a=150, b=3, c=8)
    wider = rows_of(labels, classes, [[right, 2, 0], [1, right, 0], [0, 1, right]])
    for row in differential(labels, classes).rows:
        assert row.interval is not None
        low, high = wider[row.name].interval or row.interval
        assert low <= row.interval[0] < row.interval[1] <= high
        if right == 1_000_000:
            assert (low, high) == pytest.approx(row.interval, rel=0.15, abs=0.1)
        else:
            assert high - low > 1.05 * (row.interval[1] - row.interval[0])


def test_a_ratio_to_leukocytes_that_may_not_be_there_has_no_interval():
    rows = rows_of(Counter(lymphocyte=1, erythroblast=50), CLASSES, [[9, 0, 1, 0], [0, 9, 0, 0], [9, 0, 9, 0], [0] * 4])
    assert (rows["erythroblast"].per_100_leukocytes, rows["erythroblast"].interval) == (5000, None)


def test_absolute_counts_are_without_nucleated_red_cells():
    counts = Counter({"neutrophil": 60, "lymphocyte": 40, "erythroblast": 25, "platelet": 9})
    found = differential(counts, CLASSES)
    absolute = absolute_counts(found, SlideInfo(white_count=10.0))
    assert absolute is not None
    assert absolute.corrected == pytest.approx(8.0)  # 10 · 100 / (100 + 25)
    by_name = {row.name: row.per_litre for row in absolute.rows}
    assert (by_name["neutrophil"], by_name["lymphocyte"], by_name["erythroblast"]) == pytest.approx((4.8, 3.2, 2.0))
    assert "platelet" not in by_name
    done = absolute_counts(found, SlideInfo(white_count=10.0, white_count_corrected=True))
    assert done is not None and done.corrected == 10.0
    assert absolute_counts(found, SlideInfo(sample="1")) is absolute_counts(found, None) is None
    assert absolute_counts(differential(Counter(), CLASSES), SlideInfo(white_count=10.0)) is None
