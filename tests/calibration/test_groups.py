from pathlib import Path

import pytest

from cartcls.calibration.groups import join_groups, read_csv
from cartcls.runtime.errors import DataError


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_that_a_spreadsheet_wrote_without_commas_is_told_how_to_mend(tmp_path: Path, mark: str):
    file = tmp_path / "manual.csv"
    file.write_text("slide,path,label\ns-1,x.jpg,ig; or promyelocyte\n".replace(",", mark), encoding="utf-8-sig")
    with pytest.raises(DataError, match=r"manual.csv: its columns are separated by '.+': save it with commas"):
        read_csv(file)
    file.write_text("slide,a;b\nx\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2: give it 2 values"):
        read_csv(file)


class Counted(str):
    """A name that counts how often names are compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other


def test_joining_groups_is_not_quadratic():
    groups = {str(number): Counted(number // 2) for number in range(600)}
    first_of = {path: str(max(number - number % 2 * 3, 0)) for number, path in enumerate(groups)}  # of the group before
    for order in (first_of, dict(reversed(first_of.items()))):
        Counted.compared = 0
        assert len(set(join_groups(groups, order).values())) == 1
        assert Counted.compared < 20 * len(groups)
