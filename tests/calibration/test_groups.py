from cartcls.calibration.groups import join_groups


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
