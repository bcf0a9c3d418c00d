"""Loads in the live world: batches go when they are due, and what a generator has no time for is counted."""

import secrets
import time
from pathlib import Path

import numpy as np
import pytest

from sim.declare.loads.batching import BatchingLoad
from sim.declare.scenario import Scenario
from sim.evidence.history import KIND, ROW
from sim.evidence.instrument import lateness_s
from sim.evidence.lags import lags
from sim.worlds.live import run_live
from sim.worlds.recorder import Recorder
from sim.worlds.simulated import simulate
from sim.worlds.worker import Job, Orders, generate
from tests.live.live_runs import keys_of_runs, problems
from tests.model.small import fault, rows_of, scenario, service, steady


async def test_a_client_sends_its_batches_in_both_worlds_at_the_same_times(url: str) -> None:
    """What it holds counts as lag from when it was there, and is no lateness."""
    load = BatchingLoad.model_validate(
        {"kind": "batching", "event": "placed", "of": steady(100.0, 0.5), "size": 8, "wait_s": 9}
    )
    declared = scenario(load, desk=service(0.0))
    live, simulated = await run_live(declared, [0], repeats=1, url=url), simulate(declared, [0])
    due_s = declared.plan(0).due_s
    assert np.unique(due_s).size == 7
    for history in (live, simulated):
        sent = np.sort(rows_of(history, "sent"), order="message")
        assert (sent["intended_s"] + sent["value"]).tolist() == pytest.approx(due_s.tolist())
        assert np.all(sent["t_s"] >= due_s - 1e-9)
        assert lateness_s(history.rows).max() == pytest.approx((sent["t_s"] - due_s).max())
        handled = np.sort(rows_of(history, "handled"), order="message")
        assert np.all(handled["t_s"] - handled["intended_s"] >= due_s - sent["intended_s"] - 1e-9)
        assert problems(history) == {}


async def test_trap_49_what_is_not_sent_when_the_run_is_over_is_noted(url: str, tmp_path: Path) -> None:
    """The order to stop comes before the generator has sent anything."""
    declared = scenario(steady(1000.0, 0.05), desk=service())
    namespace, records = f"wb-{secrets.token_hex(6)}", tmp_path / "generator.rows"
    job = Job("generator", declared.model_dump_json(by_alias=True), 0, url, namespace, str(records))
    orders, told = Orders(time.monotonic()), list[str]()
    orders.go.set()
    orders.stop.set()
    await generate(job, declared, Recorder(job.records, declared, "", -1), orders, told.append)
    rows = np.frombuffer(records.read_bytes(), ROW)
    assert set(rows["kind"]) == {KIND["skipped"]}
    assert rows["message"].tolist() == list(range(50))
    assert rows["intended_s"].tolist() == pytest.approx([number / 1000 for number in range(50)])
    assert told == ["ready", "done"]
    assert not any(key.startswith(namespace.encode()) for key in await keys_of_runs(url))


async def test_large_messages_pass_a_narrow_network_as_late_in_both_worlds(url: str) -> None:
    """8 kB at 100 kB/s: 80 ms to the server, and 80 ms to the consumer. Each body is as large as declared."""
    load = steady(5.0, 3.0).model_dump() | {"size_bytes": 8000}
    linear = {"kind": "linear", "column": "size_bytes", "base_s": 0.0, "per_unit_s": 1e-6}
    declared = Scenario.model_validate(
        {
            "name": "large",
            "load": load,
            "services": {"desk": {"consumes": "placed", "service_time": linear}},
            "faults": [fault("bandwidth", at_s=0.0, for_s=5.0, bytes_per_s=100_000).model_dump()],
        }
    )
    live, simulated = await run_live(declared, [0], repeats=1, url=url), simulate(declared, [0])
    for history in (live, simulated):
        assert problems(history) == {}
        assert 0.16 < np.median(lags(history).lag_s) < 0.30, history.world
