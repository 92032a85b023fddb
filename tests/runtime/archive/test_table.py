import errno
import os
from pathlib import Path

import duckdb
import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.dataset
import pytest
from fakes import giving, giving_findings, uncalibrated
from msgspec import structs

from cartcls.runtime.archive.table import (
    BINDING,
    SlideFacts,
    bundle_of,
    facts_of,
    open_table,
    schema_of,
    write_slide,
)
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError
from cartcls.runtime.ledger.records import Cell, Run
from cartcls.runtime.reports.table import BOX, csv_line

RUN = Run("17", "/slides/17", "openvino", "f32", "CPU", "0.1.0", "2026-01-01T00:00:00Z")
AT = "2026-01-01T00:00:01Z"
P = (0.9, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
CELLS = [
    Cell(1, "a,\"b\".jpg", "ok", "", AT, "basophil", P, sha256="ab", width=360, height=363),
    Cell(2, "NA", "review", "look; twice", AT, "basophil", P, sha256="cd", width=360, height=363),
    Cell(3, "%3Dcmd", "rejected", "is empty (0 bytes)", AT, path_encoded=True),
]  # fmt: skip


def facts(bundle: Bundle) -> SlideFacts:
    return SlideFacts(
        slide="17", source="/slides/17", files="digest", images=3, unsettled=0, rejected=1, alarm="",
        bundle=bundle.name, bundle_sha256=bundle.sha256, version="0.1.0", started_at=AT,
    )  # fmt: skip


@pytest.fixture
def table(tmp_path: Path, bundle: Bundle) -> Path:
    """A table with a slide of three cells, with features."""
    folder = tmp_path / "table"
    with open_table(folder, bundle, features=True):
        lines = [csv_line(bundle, RUN, cell) for cell in CELLS]
        features = [np.arange(4, dtype=np.float32), np.ones(4, np.float32), None]
        write_slide(folder / "17-0.parquet", bundle, facts(bundle), lines, features)
    return folder


def test_a_file_has_the_columns_of_the_csv_with_types(table: Path, bundle: Bundle):
    rows = pyarrow.dataset.dataset(table).to_table()
    assert rows.column_names == [*schema_of(bundle), "source", "features"]
    assert {name: rows.schema.field(name).type for name in schema_of(bundle)} == schema_of(bundle)
    first, second, third = rows.to_pylist()
    assert (first["path"], first["confidence"], first["p_basophil"], first["reason"]) == ('a,"b".jpg', 0.9, 0.9, None)
    assert (second["path"], second["label"], second["path_encoded"]) == ("NA", "basophil", False)
    assert (third["path_encoded"], third["label"], third["confidence"], third["features"]) == (True, None, None, None)
    assert first["features"] == [0, 1, 2, 3]
    assert rows.schema.field("width").metadata == {b"unit": b"pixel of the file"}
    assert facts_of(table / "17-0.parquet") == facts(bundle)


def test_boxes_that_a_network_gives_are_whole_numbers(bundle: Bundle):
    types = schema_of(giving(bundle, "boxes"))
    assert [str(types[name]) for name in BOX] == ["int32"] * 4


def test_programs_that_read_tables_find_the_same(table: Path):
    pattern = str(table / "*.parquet")
    seen = pandas.read_parquet(table)
    assert [str(seen[name].dtype) for name in ("seq", "confidence", "path_encoded")] == ["int32", "float64", "bool"]
    assert str(seen["analysed_at"].dtype).startswith("datetime64")
    by_polars = polars.scan_parquet(pattern).group_by("label").len().sort("label").collect()
    assert by_polars.rows() == [(None, 1), ("basophil", 2)]
    assert polars.read_parquet(pattern).schema["features"] == polars.List(polars.Float32)
    query = "SELECT label, count(*), avg(confidence) FROM read_parquet(?) WHERE status <> 'rejected' GROUP BY label"
    assert duckdb.execute(query, [pattern]).fetchall() == [("basophil", 2, 0.9)]
    assert pyarrow.dataset.dataset(table).count_rows() == 3


def test_another_bundle_and_other_columns_are_refused(table: Path, bundle: Bundle, tmp_path: Path):
    other = Bundle(bundle.directory, bundle.manifest, "f" * 64)
    with pytest.raises(OutputError, match="was made by another bundle"), open_table(table, other, features=True):
        pass
    with pytest.raises(OutputError, match="was made with --features"), open_table(table, bundle, features=False):
        pass
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").touch()
    with pytest.raises(OutputError, match="holds other files"), open_table(tmp_path / "other", bundle, features=True):
        pass
    with pytest.raises(OutputError, match="is no table"):
        bundle_of(tmp_path / "other")
    assert bundle_of(table).manifest == bundle.manifest
    (table / BINDING).write_text("{")
    with pytest.raises(OutputError, match="is malformed"):
        bundle_of(table)


def test_a_table_without_a_slide_is_bound_again(bundle: Bundle, tmp_path: Path):
    table = tmp_path / "table"
    with open_table(table, bundle, features=False):
        pass
    (table / BINDING).unlink()
    (table / f".unfinished-{BINDING}-12345").write_bytes(b"{")  # a run was killed while it bound the table
    for features in (False, True):
        with open_table(table, bundle, features):
            pass
    assert {path.name for path in table.iterdir()} == {BINDING, "_lock"}


def test_a_second_run_at_once_is_refused(table: Path, bundle: Bundle):
    with (
        open_table(table, bundle, features=True),
        pytest.raises(OutputError, match="in use by another"),
        open_table(table, bundle, features=True),
    ):
        pass


def test_a_full_disk_leaves_the_file_of_before(table: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    before = (table / "17-0.parquet").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_slide(table / "17-0.parquet", bundle, facts(bundle), [csv_line(bundle, RUN, CELLS[0])], None)
    assert (table / "17-0.parquet").read_bytes() == before
    assert {path.name for path in table.iterdir()} == {"17-0.parquet", BINDING, "_lock"}


def test_what_a_killed_run_left_is_swept_and_a_damaged_file_is_none(table: Path, bundle: Bundle):
    (table / ".unfinished-17-0.parquet-12345").write_bytes(b"half")
    with open_table(table, bundle, features=True):
        pass
    assert not list(table.glob(".unfinished*"))
    file = table / "17-0.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    assert facts_of(file) is None
    assert facts_of(table / "no-such.parquet") is None


def test_every_column_of_every_bundle_has_a_type(bundle: Bundle):
    for made in (bundle, uncalibrated(bundle), giving_findings(bundle)):
        assert len(schema_of(made)) > 30
    assert structs.asdict(facts(bundle)).keys() >= {"bundle_sha256", "files", "source"}
