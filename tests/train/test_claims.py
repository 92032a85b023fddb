import numpy as np
import pytest

from cartcls.train.claims import CLAIMS, Key, Lead, Row, claim_lines, lead, verdict

AHEAD, LEVEL, BEHIND = Lead(0.1, 0.02, 0.18), Lead(0.0, -0.08, 0.08), Lead(-0.1, -0.18, -0.02)


def row(*right: float) -> Row:
    return Row("", "", np.array(right), 1, 1)


def test_the_interval_is_paired_and_counts_cells_that_both_were_tested_on():
    first, second = row(*[1] * 30, *[0] * 10, np.nan), row(*[1] * 20, *[0] * 20, 1)
    found = lead(first, second)
    assert found.share == pytest.approx(10 / 40)  # ten cells only the first has right, none only the second
    assert (found.low, found.high) == pytest.approx((0.1011, 0.3751), abs=1e-4)  # 10/42 ± 1.96 √(11/42 − (10/42)²)/√42
    apart = lead(row(*[1, 0] * 20), row(*[0, 1] * 20))
    assert apart.low < -0.2
    assert apart.high > 0.2


def test_models_with_the_same_answers_still_have_an_interval():
    same = lead(row(1, 1, 0, 0), row(1, 1, 0, 0))
    assert (same.share, same.low) == (0, -same.high)
    assert same.high > 0.1


def test_seeds_are_averaged_and_a_cell_counts_once():
    found = Row("", "", np.array([1, 0.5, 0.5, np.nan]), 1, 2)
    assert (found.count, found.top1) == (3, pytest.approx(2 / 3))
    assert found.interval[0] < found.top1 < found.interval[1]


@pytest.mark.parametrize(
    ("leads", "said"),
    [
        ([AHEAD, AHEAD], "agrees"),
        ([AHEAD, LEVEL], "cannot be told"),
        ([AHEAD, LEVEL, BEHIND], "differs"),
    ],
)
def test_a_claim_of_several_models_agrees_only_where_each_does(leads: list[Lead], said: str):
    assert verdict(leads) == said


def test_a_claim_is_shown_once_all_its_models_are_there():
    worse, better = row(*[1] * 50, *[0] * 50), row(*[1] * 80, *[0] * 20)
    rows: dict[Key, Row] = {("scratch", "rcmnet"): worse}
    assert not list(claim_lines(rows))
    rows |= {("scratch", "resnet18_c"): better}
    *_, line = claim_lines(rows)
    assert line.startswith("| From scratch, rcmnet is behind resnet18_c (80.01 % and 82.63 %) | agrees |")
    assert "scratch resnet18_c before scratch rcmnet: +30.0 (+20." in line
    rows |= {key: worse for claim in CLAIMS for key in [claim.first, *claim.others]}
    assert len(list(claim_lines(rows))) == 2 + len(CLAIMS)
