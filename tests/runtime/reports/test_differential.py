from collections import Counter

import pytest

from cartcls.runtime.bundle.manifest import CellClass
from cartcls.runtime.reports.differential import differential

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
    assert rows["lymphocyte"].percent_interval == pytest.approx([19.51, 31.43], abs=0.01)
    assert rows["erythroblast"].per_100_leukocytes == 5
    assert (rows["platelet"].count, rows["platelet"].percent) == (400, None)


def test_fewer_than_a_hundred_leukocytes_are_warned_of():
    few = differential(Counter(lymphocyte=99, platelet=500), CLASSES)
    assert few.warning is not None and "only 99 leukocytes" in few.warning
    nothing = differential(Counter(), CLASSES)
    assert {row.percent for row in nothing.rows} == {None}


def test_two_classes_are_percentages_of_the_two():
    two = [CellClass("car-t", "CAR-T cell", "other", "#000001"), CellClass("b", "B cell", "other", "#000002")]
    counted = differential(Counter({"car-t": 3, "b": 1}), two)
    assert [row.percent for row in counted.rows] == [75, 25]
    assert counted.leukocytes is None
    assert counted.warning is None


def test_classes_that_are_no_leukocytes_are_percentages_of_all():
    three = [CellClass(name, name, "other", "#000001") for name in ("car-t", "blast", "debris")]
    counted = differential(Counter({"car-t": 2, "blast": 1, "debris": 1}), three)
    assert [row.percent for row in counted.rows] == [50, 25, 25]
    assert counted.warning is None
