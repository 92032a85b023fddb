from dataclasses import replace
from pathlib import Path

import pytest
from fakes import of_two_classes
from samples import RUN, a_cell

from cartcls.cli import show
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.reports.corrections import Corrected
from cartcls.runtime.reports.summary import summarize


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_finding_is_counted_with_what_speaks_against_it(bundle: Bundle, capsys: pytest.CaptureFixture[str]):
    cells = [a_cell(seq, "monocyte", status="review") for seq in range(1, 30)]
    cells += [a_cell(seq, "lymphocyte", corrected_label="lymphocyte") for seq in range(30, 44)]
    show.finished(Path("out"), summarize(of_two_classes(bundle), RUN, [*cells, a_cell(44, corrected_label="other: a")]))
    said = lines(capsys)
    at = said.index("s-1: 29 of 44 cells labelled monocyte")
    assert said[at + 1 : at + 5] == [
        "label cells without proposals",
        "lymphocyte 14 14",
        "monocyte 29 0",
        "other: a 1 1",
    ]
    numbers = ", ".join(map(str, range(30, 42)))
    assert f"15 cells speak against it: no. {numbers}, …" in said
    assert "no interval is given: cells of one patient are not independent" in said
    assert "and not a genetic result" in " ".join(said)
    assert not [line for line in said if "%" in line or "leukocyte" in line]


def test_few_cells_are_warned_of(bundle: Bundle, capsys: pytest.CaptureFixture[str]):
    show.finished(Path("out"), summarize(of_two_classes(bundle), RUN, [a_cell(1), a_cell(2), a_cell(3)]))
    assert "warning: only 3 cells: a finding needs at least 20" in lines(capsys)


@pytest.mark.parametrize("is_finding", [True, False])
def test_corrections_are_shown_with_shares_where_there_are_some(
    bundle: Bundle, capsys: pytest.CaptureFixture[str], is_finding: bool
):
    made = of_two_classes(bundle) if is_finding else bundle
    cells = [a_cell(1), a_cell(2)]
    before, after = (
        summarize(made, RUN, found) for found in (cells, [cells[0], replace(cells[1], corrected_label="monocyte")])
    )
    show.corrected(Corrected(Path("out"), 0, 1, 0, {}, None, before, after))
    said = lines(capsys)
    if is_finding:
        assert said[1:4] == ["class before after", "lymphocyte 2 1", "monocyte 0 1"]
    else:
        assert "class before after share before share after" in said
        assert "lymphocyte 2 1 100.0 % 50.0 %" in said
