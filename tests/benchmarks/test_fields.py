from fields import score

from cartcls.runtime.fields.find import Field, Found

EMPTY = (250.0, 226.0, 202.0)


def test_each_label_takes_one_box_and_the_one_that_shares_most():
    close, loose, beside = Found(10, 10, 90, 90), Found(30, 30, 60, 60), Found(300, 10, 50, 50)
    found = score("a", [(10, 10, 100, 100), (500, 500, 600, 600)], Field((loose, close, beside), (), EMPTY))
    assert (found.labelled, found.found, found.overlapping) == (2, 1, 1)
    assert found.false == [(30, 30, 90, 90), (300, 10, 350, 60)]
    assert found.missed == [(500, 500, 600, 600)]


def test_a_box_with_its_middle_inside_is_found_and_need_not_overlap_by_half():
    found = score("a", [(0, 0, 100, 100)], Field((Found(40, 40, 30, 30),), (), EMPTY))
    assert (found.found, found.overlapping, found.false, found.missed) == (1, 0, [], [])
