from collections import Counter
from pathlib import Path

import pytest
from extend_split import extended

from cartcls.calibration.split import class_of, read_split
from cartcls.runtime.errors import DataError

SPLITS = Path(__file__).parents[2] / "splits"


def test_the_committed_split_is_what_the_script_makes_and_no_earlier_cell_changed_its_part():
    earlier, all_cells = (read_split(SPLITS / name).parts for name in ("pbc.csv", "pbc-all.csv"))
    assert {path: all_cells[path] for path in earlier} == earlier
    assert extended(earlier, sorted(all_cells, reverse=True)) == all_cells
    further = Counter((class_of(path), part) for path, part in all_cells.items() if path not in earlier)
    others = {(name, "calibrate"): 97 for name in ("eosinophil", "erythroblast", "monocyte", "platelet")}
    calibrate = {pair: count for pair, count in further.items() if pair[1] == "calibrate"}
    assert calibrate == {("neutrophil", "calibrate"): 600, ("ig", "calibrate"): 500, **others}
    assert {part for _, part in further} == {"calibrate", "fit"}
    assert Counter(all_cells.values()) == {"fit": 9685, "select": 392, "calibrate": 2264, "report": 392}
    bands = sum("/BNE_" in path for path in all_cells.keys() - earlier.keys() if all_cells[path] == "calibrate")
    assert abs(bands - 600 * 1016 / 2054) <= 1


def test_cells_of_the_first_split_must_be_there():
    with pytest.raises(DataError, match=r"1 cells of pbc.csv are not there \(a/A_1.jpg"):
        extended({"a/A_1.jpg": "fit", "a/A_2.jpg": "fit"}, ["a/A_2.jpg", "a/A_3.jpg"])
