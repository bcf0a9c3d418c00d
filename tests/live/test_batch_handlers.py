"""A service whose handlers take batches, for real: in both worlds the same messages fail, are retried and die."""

import numpy as np

from eventlib.policy import Retry
from sim.declare.dependencies import Dependency
from sim.evidence.metrics import measure
from tests.live.live_runs import both_worlds
from tests.model.small import constant, fault, kill, rows_of, scenario, service, steady


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
    declared = scenario(
        steady(100.0, 1.0),
        kill("desk", 0.3, 0.1),
        fault("poison", service="desk", at_s=0.0, for_s=2.0, messages=[60]),
        dependencies={"database": Dependency(capacity=1, service_time=constant(0.02))},
        desk=desk,
        till=service(0.0, consumes="placed.done"),
    )
    live, simulated = await both_worlds(declared, url)
    for history in (live, simulated):
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
