"""An archive of 2,000 crops in which something is killed in the middle; and a mutant that must be found."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_trial import HERE, ArchiveTrial, descendants, kill, put_slides, until, write_small_bundle
from ray.cluster_utils import Cluster

from cartcls.runtime.archive.table import parquet_files
from cartcls.runtime.bundle.bundle import Bundle

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own

STORE = 200 << 20


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory, cells: list[bytes]) -> Path:
    return put_slides(tmp_path_factory.mktemp("slides"), cells, 20, 100)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    return write_small_bundle(bundle, tmp_path_factory.mktemp("bundles") / "small")


@pytest.fixture
def two_nodes() -> Iterator[Cluster]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE})
    cluster.add_node(num_cpus=1, object_store_memory=STORE)
    yield cluster
    cluster.shutdown()


def test_killed_workers_lose_and_double_nothing(slides: Path, small: Path, tmp_path: Path):
    trial = ArchiveTrial(slides, tmp_path / "table", small)
    trial.start()
    trial.until_middle()
    workers = trial.workers()
    assert workers
    for pid in workers:
        kill(pid)
    trial.finish()
    assert trial.problems() == []


def test_a_killed_node_loses_and_doubles_nothing(slides: Path, small: Path, tmp_path: Path, two_nodes: Cluster):
    trial = ArchiveTrial(slides, tmp_path / "table", small, str(two_nodes.address))
    trial.start()
    trial.until_middle()
    (second,) = two_nodes.worker_nodes
    kill(second.all_processes["raylet"][0].process.pid)
    trial.finish()
    assert trial.problems() == []


def killed_driver(trial: ArchiveTrial) -> None:
    """Kill the driver in the middle, and run the same command again."""
    process = trial.start()
    trial.until_middle()
    started = descendants(process.pid)
    process.kill()
    process.wait()
    until(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()])  # Ray's processes end with it
    trial.start()
    trial.finish()


def test_a_killed_driver_goes_on_with_the_same_command(slides: Path, small: Path, tmp_path: Path):
    trial = ArchiveTrial(slides, tmp_path / "table", small)
    killed_driver(trial)
    assert trial.problems() == []


def test_the_trial_finds_rows_that_are_appended_without_a_commit(slides: Path, small: Path, tmp_path: Path):
    trial = ArchiveTrial(slides, tmp_path / "table", small, HERE, "append")
    killed_driver(trial)
    assert trial.problems()


def test_a_file_that_ends_each_process_costs_its_slide_alone(slides: Path, small: Path, tmp_path: Path):
    trial = ArchiveTrial(slides, tmp_path / "table", small, HERE, "deadly")
    trial.start()
    said = trial.finish(code=1).splitlines()
    (line,) = [line for line in said if line.startswith("not in the table: ")]
    assert line.endswith("its process ended 5 times: `cartcls batch` finds the file that does so")
    assert len(said) == 2, said  # nothing of Ray's own
    assert len(parquet_files(tmp_path / "table")) == 19
    assert len(trial.problems()) == 100
