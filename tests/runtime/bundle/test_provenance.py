import json

import msgspec
import pytest

from cartcls.runtime.bundle.bundle import SHIPPED
from cartcls.runtime.bundle.provenance import Preprocessing, Provenance

DATA = {"data_sha256": {"fit": "0"}, "split_file": "a.csv", "split_sha256": "1", "split_unit": "split by image"}


def test_the_shipped_record_is_written_as_it_was_read():
    source = json.loads((SHIPPED / "bundle.json").read_text())["source"]
    record = msgspec.json.decode(json.dumps(source), type=Provenance)
    assert json.dumps(record.plain()) == json.dumps(source)
    assert msgspec.convert(record.plain(), Provenance) == record
    assert [member.arch for member in record.members] == record.arch.split("+")
    assert record.members[0].provenance.stages[-1].size == (290, 290)
    for member in record.members:
        start = member.provenance.start
        while start is not None and not start.bundle:  # each began with a member of the bundle before
            start = msgspec.convert(start.source, Provenance).start
        assert start is not None and (start.bundle, len(start.bundle_sha256)) == ("rcmnet-pbc8", 64)


def test_what_older_trainings_wrote_is_read():
    preprocessing = {"name": "stretch-area-linear", "sha256": "0"}
    older = {**DATA, "preprocessing": preprocessing, "start": None, "teacher": None, "seed": 0}
    record = msgspec.convert(older, Provenance)
    assert record == Provenance(**DATA, preprocessing=Preprocessing("stretch-area-linear"), seed=0)
    assert record.plain() == {**DATA, "preprocessing": {"name": "stretch-area-linear"}, "seed": 0}


def test_a_record_of_something_else_is_none():
    with pytest.raises(msgspec.ValidationError, match="split_file"):
        msgspec.convert({"data_sha256": {}}, Provenance)
