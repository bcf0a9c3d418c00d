"""A dependency as a process of its own, which several services call; and attempts that take too long."""

from typing import Any

import numpy as np

from eventlib.policy import Retry
from sim.declare.dependencies import Dependency
from sim.evidence.metrics import measure
from tests.live.live_runs import both_worlds
from tests.model.small import constant, kill, rows_of, scenario, service, steady


async def test_services_share_a_dependency(url: str) -> None:
    """One call at a time, whichever process it comes from. Who waits for too long gives up, in both worlds alike."""
    database = Dependency(capacity=1, service_time=constant(0.02))
    fields: dict[str, Any] = {"uses": ["database"], "lease_s": 0.5}
    desk = service(0.0, concurrency=4, consumers=2, **fields)
    hasty = service(0.3, timeout_s=0.05, retry=Retry(attempts=2, wait_s=0.0), lease_s=10.0)
    declared = scenario(
        steady(20.0, 1.0),
        kill("desk", 0.52, 0.1),
        dependencies={"database": database},
        desk=desk,
        till=service(0.0, concurrency=4, **fields),
        hasty=hasty,
    )
    for history in await both_worlds(declared, url):
        ends_s = np.concatenate([rows_of(history, "handled", name)["t_s"] for name in ("desk", "till")])
        # A process may hear late of the end of one call, and soon of the next.
        assert np.quantile(np.diff(np.sort(ends_s)), 0.1) >= 0.015, history.world
        busy = measure(history)
        assert 0.2 < busy["dependencies.database.utilisation"].item() < 1.0, history.world
        assert 0.005 < busy["dependencies.database.wait_s_mean"].item() < 0.5, history.world
        assert len(rows_of(history, "calls_begun")) >= 10
        assert rows_of(history, "calls_begun")["value"][-1] >= 40  # each message of both, and what was taken over
        assert len(rows_of(history, "dead", "hasty")) == 20 and len(rows_of(history, "failed", "hasty")) == 40
        assert not rows_of(history, "handled", "hasty").size
