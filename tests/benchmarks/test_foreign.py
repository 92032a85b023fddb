"""Other laboratories' cells on slides: what is wrong and `ok`, and alarms."""

from collections import Counter
from dataclasses import replace

import false_alarms
import foreign
import numpy as np
import outputs as bench
import pytest
from foreign_split import CHOOSE, REPORT, halves, read_halves

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.bundle.calibration import Typical
from cartcls.runtime.bundle.drift import FALSE_ALARMS, alarm


def far(cells: bench.Outputs) -> bench.Outputs:
    """The same cells, with features unlike any of home."""
    return replace(cells, evidence=replace(cells.evidence, features=cells.evidence.features * 10))


def wrong(cells: bench.Outputs) -> bench.Outputs:
    """The same cells, each called surely by the name of another class."""
    return replace(cells, evidence=replace(cells.evidence, logits=np.roll(cells.evidence.logits, 1, 1)))


def foreign_set(cells: bench.Outputs, name: str) -> bench.Outputs:
    return replace(cells, paths=[path.replace("cells/", f"{name}/", 1) for path in cells.paths])


def test_the_committed_halves_are_made_by_the_rule_and_hold_every_class_alike() -> None:
    half_of = read_halves()

    for name in bench.FOREIGN:
        of_set = {path.removeprefix(f"{name}/"): half for path, half in half_of.items() if path.startswith(f"{name}/")}
        assert halves(of_set) == of_set
        counts = Counter((path.split("/")[0], half) for path, half in of_set.items())
        assert all(abs(counts[of_class, REPORT] - counts[of_class, CHOOSE]) <= 1 for of_class, _ in counts)


def test_a_wrong_cell_counts_as_ok_only_while_its_slide_has_no_alarm(cells: bench.Outputs, shipped: Bundle) -> None:
    slide = np.arange(len(cells.paths))[None]

    unseen = foreign.review(bench.Pool(wrong(cells), shipped), slide)
    alarmed = foreign.review(bench.Pool(far(wrong(cells)), shipped), slide)
    too_few = foreign.review(bench.Pool(wrong(cells), shipped), slide[:, :19])

    assert unseen.wrong.sum() == 4  # called platelets; on so few cells every leukocyte class is rare
    assert not unseen.alarms.any()
    assert alarmed.alarms.all() and not alarmed.wrong.any()
    assert not too_few.wrong.any()


def test_the_tables_hold_every_set_and_share(
    cells: bench.Outputs, shipped: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "SLIDES", 2)
    monkeypatch.setattr(foreign, "SIZES", (20,))
    sets = [foreign_set(change(cells), name) for change, name in zip((far, wrong, far), bench.FOREIGN, strict=True)]
    pool = bench.Pool(bench.joined([cells, *sets]), shipped)
    groups = list(foreign.groups(pool, ["all"]))

    labels, whole, mixed = (table(pool, groups) for table in (foreign.labels, foreign.whole, foreign.mixed))

    assert [len(group.at) for group in groups] == [len(cells.paths)] * 4
    assert [line for line in labels if "cvblog" in line and "| 0.0% (0.0% to 10.9%) |" in line]  # right
    assert [line for line in whole if line.startswith("| tecom | all | 20 | 1 | 1 | 0.00% (0.00% to 16.84%) |")]
    assert "| none | 0.0% |" in mixed and "| 100% bccd | 100.0% |" in mixed
    assert sum(line.startswith("| 30% ") for line in mixed) == 6


def test_a_share_of_cells_that_were_drawn_often_has_the_interval_of_the_different_ones() -> None:
    nothing = np.zeros((1, 1000), bool)
    often, once = (foreign.Slides(at[None], nothing[:, 0], nothing) for at in (np.arange(1000) % 10, np.arange(1000)))

    assert foreign.drawn_share(often) == foreign.share(0, 10, 2) == "0.00% (0.00% to 30.85%)"
    assert foreign.drawn_share(once) == "0.00% (0.00% to 0.37%)"


def test_false_alarms_are_as_many_as_allowed_where_cells_are_independent_and_more_where_they_are_alike() -> None:
    independent, alike = (
        false_alarms.false_alarms(0.1, correlation, 50_000, np.random.default_rng(0)) for correlation in (0.0, 0.05)
    )

    assert 0 < independent[1000] <= FALSE_ALARMS
    assert alike[20] > 10 * FALSE_ALARMS and sorted(alike.values()) == list(alike.values())


def test_the_number_of_far_cells_in_the_table_is_the_fewest_that_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(false_alarms, "SLIDES", 10)
    (row,) = (line for line in false_alarms.section() if line.startswith("| first 20 |"))
    fewest = int(row.split("|")[2])
    typical = Typical({"cell": 1.0}, {"cell": 1.0})

    slides = [[("cell", 2.0, 0.0)] * count + [("cell", 0.0, 0.0)] * (20 - count) for count in (fewest - 1, fewest)]

    assert [alarm(slide, typical) for slide in slides] == [(), ("features",)]
