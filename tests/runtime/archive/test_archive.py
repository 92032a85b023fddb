"""Archives on a cluster of one machine, beside `cartcls batch` on the same slides."""

import csv
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset
import pytest
from archives import differences, rows_of
from ray.cluster_utils import Cluster
from typer.testing import CliRunner

from cartcls.cli import app
from cartcls.runtime.archive import archive as archives
from cartcls.runtime.archive.archive import Archived, archive
from cartcls.runtime.archive.places import Slide
from cartcls.runtime.archive.rows import SlideRows
from cartcls.runtime.archive.stages import Answer, Job, Listing, Task
from cartcls.runtime.archive.table import facts_of, parquet_files
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.errors import BackendError, BundleError, OutputError, SlideError
from cartcls.runtime.ledger.records import Cell

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

STORE = 200 << 20
SLIDES = ("2019/17", "2020/17", "2020/18")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": STORE})
    yield str(cluster.address)
    cluster.shutdown()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, slide: Path) -> Path:
    """Slides of real cells: with copies, a cut file, an empty one, a name to be encoded, and one of two chunks."""
    folder = tmp_path_factory.mktemp("archive") / "slides"
    cells = sorted(slide.glob("*.jpg"))
    for name, chosen in zip(SLIDES, (cells[:6], cells[6:9], cells), strict=True):
        (folder / name).mkdir(parents=True)
        for cell in chosen:
            shutil.copy(cell, folder / name)
    shutil.copy(cells[0], folder / SLIDES[0] / "a copy.jpg")
    shutil.copy(cells[1], folder / SLIDES[0] / os.fsdecode(b"=\xff.jpg"))
    (folder / SLIDES[1] / "cut.jpg").write_bytes(cells[0].read_bytes()[:5000])
    (folder / SLIDES[1] / "empty.jpg").touch()
    for number in range(8):
        shutil.copy(cells[number], folder / SLIDES[2] / f"z-{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def reports(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of `cartcls batch` on the same slides."""
    out = tmp_path_factory.mktemp("batch") / "reports"
    for name in SLIDES:
        done = CliRunner().invoke(
            app, ["batch", str(root / name), "--out", str(out / name[:4]), "--backend", "openvino"]
        )
        assert done.exit_code in (0, 3), done.output
    return out


@pytest.fixture(scope="module")
def made(root: Path, address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Archived]:
    """A table of them, made by two models on two CPUs."""
    table = tmp_path_factory.mktemp("tables") / "table"
    return table, archive([str(root)], table, load_bundle(), "openvino", address, workers=2, features=True)


def test_its_rows_are_those_of_batch(made: tuple[Path, Archived], reports: Path):
    table, done = made
    assert (done.slides, done.written, done.unchanged, done.images, done.rejected) == (3, 3, 0, 53, 2)
    assert done.status["duplicate"] == 10
    assert not done.failed
    wrong = [differences_of(table, reports / year, year) for year in ("2019", "2020")]
    assert wrong == [[], []]


def differences_of(table: Path, reports: Path, year: str) -> list[str]:
    """Differences of the slides of one year."""
    only = reports.parent / f"table-{year}"
    only.mkdir(exist_ok=True)
    for file in parquet_files(table):
        facts = facts_of(file)
        assert facts
        if f"/{year}/" in facts.source:
            shutil.copy(file, only)
    return differences(only, reports)


def test_features_are_those_of_the_model(made: tuple[Path, Archived], root: Path):
    from cartcls.runtime import Classifier

    table, _ = made
    rows = pyarrow.dataset.dataset(table).to_table(columns=["source", "path", "features", "label"]).to_pylist()
    assert all((row["features"] is None) == (row["label"] is None) for row in rows)
    wanted = next(row for row in rows if row["source"].endswith(SLIDES[0]) and row["path"] == "cell-01.jpg")
    with Classifier(None, "openvino") as classifier:
        (prediction,) = classifier.predict([root / SLIDES[0] / "cell-01.jpg"])
    assert wanted["features"] == pytest.approx(prediction.features.tolist(), rel=0.2, abs=0.05)  # in another batch


def test_the_summary_has_the_figures_of_the_reports(made: tuple[Path, Archived], reports: Path):
    table, _ = made
    done = CliRunner().invoke(app, ["archive-summary", str(table)])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 3
    for row in rows:
        year, name = Path(row["source"]).parts[-2:]
        expected = json.loads((reports / year / name / "summary.json").read_text())
        assert (row["slide"], int(row["images"]), int(row["to_review"])) == (
            expected["slide"], expected["images"], expected["awaiting_review"],
        )  # fmt: skip
        assert (row["alarm"], row["promise"]) == (expected["alarm"], expected["promise"])
        assert {status: int(row[status]) for status in ("ok", "review", "rejected", "duplicate")} == {
            status: expected["status"][status] for status in ("ok", "review", "rejected", "duplicate")
        }
        for entry in expected["differential"]["rows"]:
            assert int(row[entry["name"]]) == entry["count"]
            if entry["percent"] is not None:
                low, high = entry["interval"]
                names = ("percent", "low", "high")
                found = [row[f"{entry['name']}_{name}"] for name in names]
                assert found == [f"{value:.2f}" for value in (entry["percent"], low, high)]


def test_the_same_command_does_what_has_changed(made: tuple[Path, Archived], root: Path, address: str, tmp_path: Path):
    table = Path(shutil.copytree(made[0], tmp_path / "table"))
    before = {file.name: file.stat().st_mtime_ns for file in parquet_files(table)}
    done = archive([str(root)], table, load_bundle(), "openvino", address, features=True)
    assert (done.written, done.unchanged, done.rejected) == (0, 3, 2)
    changed = root / SLIDES[1] / "cell-08.jpg"
    data, times = changed.read_bytes(), changed.stat()
    try:
        changed.write_bytes((root / SLIDES[0] / "cell-02.jpg").read_bytes())
        os.chmod(root / SLIDES[0] / "cell-01.jpg", 0o644)  # changes no byte
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "The minimum number of concurrent actors")
            done = archive([(root / "2020").as_uri()], table, load_bundle(), "openvino", address, 2, features=True)
    finally:
        changed.write_bytes(data)
        os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (done.slides, done.written, done.unchanged) == (2, 1, 1)
    after = {file.name: file.stat().st_mtime_ns for file in parquet_files(table)}
    assert before.keys() == after.keys()
    assert sum(before[name] != after[name] for name in before) == 1
    row = next(row for row in rows_of(table) if row["path"] == "cell-08.jpg" and "/2020/17" in row["source"])
    assert row["sha256"] == next(row for row in rows_of(table) if row["path"] == "cell-02.jpg")["sha256"]


def test_what_keeps_the_model_from_working_is_one_line(root: Path, address: str, tmp_path: Path):
    other = replace(load_bundle(), sha256="f" * 64)
    with pytest.raises(BundleError, match="is another bundle on one of the machines") as error:
        archive([str(root / "2019")], tmp_path / "table", other, "openvino", address)
    assert "\n" not in str(error.value)
    assert not parquet_files(tmp_path / "table")


def test_a_slide_of_which_no_file_can_be_read_is_not_in_the_table(bundle: Bundle, tmp_path: Path):
    slide, notes = Slide("/slides/17"), []
    job = Job(tmp_path, bundle.sha256, "openvino", "0.1.0", False, bundle.width, bundle.height, None)
    work = archives._Work(tmp_path, bundle, job, [slide], lambda done, count: None, notes.append)
    work._rows = {0: SlideRows(2)}
    cells = [Cell(seq, f"{seq}.jpg", "rejected", "cannot be opened: Permission denied", "") for seq in (1, 2)]
    work._take(Task(0, slide, Listing(2, "digest")), Answer(0, cells, unsettled=2))
    assert notes == [
        "not in the table: /slides/17: no file of it can be read: the first one cannot be opened: Permission denied"
    ]
    assert (work.archived.written, parquet_files(tmp_path)) == (0, [])


def test_a_store_that_no_longer_answers_ends_the_run(bundle: Bundle, tmp_path: Path):
    job = Job(tmp_path, bundle.sha256, "openvino", "0.1.0", False, bundle.width, bundle.height, None)
    work = archives._Work(tmp_path, bundle, job, [], lambda done, count: None, lambda line: None)
    slides = [Slide(f"s3://bucket/{number}", "s3://bucket", f"bucket/{number}") for number in range(40)]
    error = SlideError("cannot be reached")
    work._rows = {number: SlideRows(64) for number in range(40)}
    for number, slide in enumerate(slides[:7]):
        work._take(Task(number, slide, Listing(64, "")), Answer(number, error=error))
    work._take(Task(39, slides[39], Listing(64, "")), Answer(39, [Cell(1, "1.jpg", "ok", "", "")]))
    with pytest.raises(SlideError, match=f"{archives.AWAY} slides in a row could not be read"):
        for number, slide in enumerate(slides[7:], 7):
            work._take(Task(number, slide, Listing(64, "")), Answer(number, error=error))
    assert len(work.archived.failed) == 7 + archives.AWAY


def test_an_empty_archive_and_a_missing_cluster_are_refused(root: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="no folder with images"):
        archive([str(tmp_path / "empty")], tmp_path / "table", load_bundle())
    with pytest.raises(BackendError, match=r"cluster at 127.0.0.1:1 cannot be joined"):
        archive([str(root)], tmp_path / "table", load_bundle(), address="127.0.0.1:1")
