"""A service whose handlers take batches, for real: in both worlds the same messages fail, are retried and die."""

import numpy as np

from eventlib.policy import Retry
from sim.declare.dependencies import Dependency
from sim.declare.scenario import Scenario
from sim.evidence.checks import check
from sim.evidence.metrics import measure
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate
from tests.live.live_runs import OF_THE_MACHINE, keys_of_runs, no_process_left
from tests.model.small import constant, fault, kill, rows_of, service, steady


async def test_batches_fail_message_by_message_in_both_worlds_alike(url: str) -> None:
    """A consumer is killed in the middle of a batch: nothing is lost. A call waits to fill, and calls a database."""
    desk = service(
        mean_s=0.15,
        batch={"size": 20, "wait_s": 0.1, "per_message_s": 0.002},
        uses=["database"],
        consumers=2,
        error_rate=0.2,
        lease_s=0.6,
        emits=["placed.done"],
        retry=Retry(attempts=3, wait_s=0.05, jitter="none"),
    )
    declared = Scenario(
        name="batches",
        load=steady(100.0, 1.0),
        services={"desk": desk, "till": service(0.0, consumes="placed.done")},
        faults=(kill("desk", 0.3, 0.1), fault("poison", service="desk", at_s=0.0, for_s=2.0, messages=[60])),
        dependencies={"database": Dependency(capacity=1, service_time=constant(0.02))},
    )
    with no_process_left():
        live = await run_live(declared, [0], repeats=1, url=url)
    simulated = simulate(declared, [0])
    for history in (live, simulated):
        found = {one.name: one for one in check(history) if one.verdict != "true" and one.name not in OF_THE_MACHINE}
        assert found == {}, history.world
        sizes = rows_of(history, "batch")["value"]
        assert 5 <= sizes.max() <= 20 and sizes.size < 60, history.world
        assert 60 in rows_of(history, "dead", "desk")["message"], history.world
        handled = np.unique(rows_of(history, "handled", "desk")["message"])
        assert np.isin(handled, rows_of(history, "handled", "till")["message"]).all(), history.world
    # The first attempts have the same draws in both worlds; which batch the kill meets is not the same.
    rows = [rows_of(one, "failed", "desk") for one in (live, simulated)]
    failed = [{int(row["message"]) for row in of_world if row["attempt"] == 1} for of_world in rows]
    assert len(failed[0] ^ failed[1]) <= 20 and len(failed[0] & failed[1]) >= 10
    assert 0.0 < measure(live)["desk.utilisation"][0] <= 1.05
    assert await keys_of_runs(url) == set()
