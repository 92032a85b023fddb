"""Times the calls of a function."""

from collections.abc import Callable
from types import ModuleType


def time_calls(owner: ModuleType | type, name: str, clock: Callable[[], float]) -> list[float]:
    """Replace a function of a module or class by one that also adds the seconds of each call to the returned list."""
    function, times = getattr(owner, name), []

    def timed(*arguments: object) -> object:
        started = clock()
        try:
            return function(*arguments)
        finally:
            times.append(clock() - started)

    setattr(owner, name, timed)
    return times
