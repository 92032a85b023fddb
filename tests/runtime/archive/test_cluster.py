import os
import socket
import tempfile
from pathlib import Path

import pytest
from ray.exceptions import RpcError

from cartcls.runtime.archive import cluster
from cartcls.runtime.archive.cluster import share
from cartcls.runtime.errors import BackendError


@pytest.mark.parametrize("nodes", [[(1, 0)], [(2, 0)], [(1, 0), (1, 0)], [(16, 2), (4, 1)], [(64, 0)] * 100])
@pytest.mark.parametrize("workers", [None, 1, 2, 7])
def test_models_never_take_the_cpu_that_reading_needs(nodes: list[tuple[float, float]], workers: int | None):
    shares = share(nodes, workers, gpu=True)
    for cpus, _ in nodes:  # were the others lost, all models would be here
        assert cpus - shares.workers * shares.cpus >= shares.reader > 0


def test_there_is_a_model_for_each_gpu_else_for_each_machine():
    assert share([(16, 2), (16, 1)], None, gpu=True).workers == 3
    assert share([(16, 2), (16, 1)], None, gpu=True).gpus == 1
    assert share([(16, 2), (16, 1)], None, gpu=False).workers == 2
    assert share([(16, 2), (16, 1)], None, gpu=False).gpus == 0
    assert share([(16, 1)], 2, gpu=True).gpus == 0.5


def test_few_cpus_are_told():
    assert share([(2, 0)], 1, gpu=False).warning == ""
    assert share([(2, 0)], 2, gpu=False).warning.startswith("2 CPUs are few for 2 model processes")


def test_a_cluster_that_cannot_work_is_refused_at_once():
    with pytest.raises(BackendError, match="no CPU"):
        share([(0, 4)], None, gpu=True)
    with pytest.raises(BackendError, match="too small for 9999"):
        share([(1, 0)], 9999, gpu=False)


def test_a_port_of_another_program_is_no_cluster(monkeypatch: pytest.MonkeyPatch):
    def asked(address: str) -> None:
        raise RpcError(f"no answer from {address}")  # as after 40 s

    monkeypatch.setattr(cluster, "GcsClient", asked)
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(BackendError, match=r"at (.*) cannot be joined: no answer from \1"),
    ):
        cluster._check_reached(f"127.0.0.1:{other.getsockname()[1]}")


def test_a_path_that_is_too_long_for_ray_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (long := tmp_path / ("x" * 90)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(BackendError, match="set TMPDIR to a folder with a shorter path"), cluster.cluster(None):
        pass
    assert not list(long.iterdir())


def test_a_killed_run_with_the_number_of_this_process_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / f".unfinished-ray-{os.getpid()}" / "session_latest"
    left.mkdir(parents=True)
    assert cluster._new_folder() == left.parent
    assert not left.exists()
