from cartcls.runtime.ledger.records import MAX_ATTEMPTS, LedgerImage
from cartcls.runtime.slides.attempts import _in_groups


def image(name: str, attempts: int = 0, seq: int | None = None) -> LedgerImage:
    return LedgerImage(ord(name), name.encode(), "seen", attempts, seq, None)


def order(*images: LedgerImage) -> list[str]:
    """Names in the order in which they are tried, those of a group together."""
    return [b"".join(image.path for image in group).decode() for group in _in_groups(images)]


def test_new_images_are_tried_together_as_they_come():
    assert order(image("b"), image("a"), image("c")) == ["bac"]
    assert order() == [""]


def test_images_that_have_a_row_go_first_in_its_order():
    assert order(image("a"), image("b", seq=7), image("c"), image("d", seq=3)) == ["dbac"]


def test_what_was_under_way_at_a_kill_goes_first_alone_and_the_least_tried_of_it_before_the_others():
    images = image("a"), image("b", attempts=3), image("c", attempts=1), image("d"), image("e", attempts=1)
    assert order(*images) == ["c", "e", "b", "ad"]


def test_what_was_tried_too_often_is_not_tried_again():
    assert order(image("a", attempts=MAX_ATTEMPTS - 1), image("b", attempts=MAX_ATTEMPTS)) == ["a", ""]
