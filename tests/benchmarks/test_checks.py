"""What `benchmarks/checks.py` times, and on which cells."""

from collections import Counter

import checks

from cartcls.calibration.split import class_of


def test_all_that_is_timed_is_there():
    timed = [function for functions in {**checks.OF_CELLS, **checks.OF_SLIDE}.values() for function in functions]
    assert [name for owner, name in timed if not callable(getattr(owner, name, None))] == []


def test_cells_are_chosen_in_a_natural_mix():
    paths = [f"{name}/{i}.jpg" for name in (*checks.NATURAL, "platelet") for i in range(100)]
    chosen = checks.natural(paths, 100)
    assert len(set(chosen)) == 100
    assert Counter(map(class_of, chosen)) == {name: round(100 * share) for name, share in checks.NATURAL.items()}
    assert chosen != sorted(chosen)
