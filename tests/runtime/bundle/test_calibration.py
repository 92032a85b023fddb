import msgspec
import pytest

from cartcls.runtime.bundle.bundle import SHIPPED
from cartcls.runtime.bundle.calibration import TEMPERATURES, CalibrationRecord
from cartcls.runtime.bundle.manifest import decode_manifest

RECORD = decode_manifest((SHIPPED / "bundle.json").read_bytes(), SHIPPED).calibration


def changed(**values: object) -> CalibrationRecord:
    return msgspec.convert({**msgspec.to_builtins(RECORD), **values}, CalibrationRecord)


@pytest.mark.parametrize("temperature", [0, -1, 0.04, 20.1, 1000, float("nan"), float("inf")])
def test_a_wrong_temperature_is_refused(temperature: float):
    with pytest.raises(msgspec.ValidationError, match=r"the temperature .+ is not in \(0\.05, 20\.0\)"):
        changed(temperature=temperature)


@pytest.mark.parametrize("threshold", [-0.1, 1.2, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(threshold: float):
    with pytest.raises(msgspec.ValidationError, match=r"the review threshold .+ is not a probability"):
        changed(threshold=threshold)


def test_the_ends_of_what_is_allowed_are_allowed():
    assert [changed(temperature=value).temperature for value in TEMPERATURES] == list(TEMPERATURES)
    assert [changed(threshold=value).threshold for value in (0, 1)] == [0, 1]


@pytest.mark.parametrize(
    ("slides", "word"),
    [(None, "estimated, no promise"), (9, "estimated, no promise"), (10, "promised"), (30, "promised")],
)
def test_what_was_held_on_few_slides_is_no_promise(slides: int | None, word: str):
    assert RECORD is not None
    assert msgspec.structs.replace(RECORD.promise, slides=slides).word == word


def test_a_missing_limit_is_named():
    with pytest.raises(msgspec.ValidationError, match="there are no limits for size, shape, cell"):
        changed(limits={"distance": [None, 9.0], "stain": [None, 9.0]})
