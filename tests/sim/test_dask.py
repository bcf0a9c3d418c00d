"""Sweeps on a real Dask cluster: a worker that is killed, the same bytes, and a scheduler that is not there."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from distributed import LocalCluster
from typer.testing import CliRunner

import sim
from sim.cli.commands import app
from sim.errors import SweepFailed
from sim.infer.dask_cluster import dask_cluster
from tests.sim.test_sweep import SMALL, Counting

MANY = {"services.desk.consumers": "1..4", "load.rate_per_s": "20,40,60"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1", silence_logs=50
    ) as found:
        yield found


def test_a_worker_that_is_killed_midway_changes_nothing(cluster: LocalCluster, tmp_path: Path) -> None:
    sim.sweep(SMALL, MANY, seeds=range(4), executor=Counting(), out=tmp_path / "here")
    killed: list[int] = []

    def kill_one(share: float) -> None:
        if share > 0.1 and not killed:
            killed.append(cluster.workers[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    with dask_cluster(cluster.scheduler_address) as executor:
        sim.sweep(SMALL, MANY, seeds=range(4), executor=executor, out=tmp_path / "there", progress=kill_one)
    assert killed
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()


def test_the_command_runs_there(cluster: LocalCluster, tmp_path: Path) -> None:
    declared, out = tmp_path / "small.yaml", tmp_path / "out"
    declared.write_text(json.dumps(SMALL.model_dump(mode="json", by_alias=True)))
    place = ["--dask", cluster.scheduler_address, "--out", str(out)]
    told = CliRunner().invoke(app, ["sweep", str(declared), "--vary", "load.rate_per_s=20,40", "--seeds", "2", *place])
    assert told.exit_code == 0
    found = sim.Sweep.open(out)
    here = sim.sweep(SMALL, {"load.rate_per_s": "20,40"}, seeds=range(2), executor=Counting())
    assert found.table() == here.table()


@pytest.mark.parametrize(
    ("address", "told"),
    [("127.0.0.1:1", "no Dask scheduler answers there within 0.5 s"), ("nonsense:", "is no address of a scheduler")],
)
def test_a_dead_scheduler_is_one_message_of_the_command(
    address: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.infer.dask_cluster._ANSWERS_WITHIN_S", 0.5)
    declared = tmp_path / "small.yaml"
    declared.write_text(json.dumps(SMALL.model_dump(mode="json", by_alias=True)))
    refused = CliRunner().invoke(app, ["sweep", str(declared), "--vary", "load.rate_per_s=20,40", "--dask", address])
    assert refused.exit_code == 3
    assert refused.output.splitlines()[-1].startswith(f"error: {address}: {told}")


def test_a_scheduler_that_dies_midway_is_one_message(tmp_path: Path) -> None:
    """What was finished is kept. The client looks for the scheduler for a second, which is half a minute by default."""
    patience = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with (
        patience,
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", protocol="tcp", silence_logs=50
        ) as dying,
    ):

        def close(share: float) -> None:
            if share > 0.1:
                dying.scheduler.loop.add_callback(dying.scheduler.close)

        with pytest.raises(SweepFailed, match="the executor failed"), dask_cluster(dying.scheduler_address) as executor:
            sim.sweep(SMALL, MANY, seeds=range(4), executor=executor, out=tmp_path / "part", progress=close)
    assert (tmp_path / "part.unfinished").stat().st_size
