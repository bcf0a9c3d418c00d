"""A dependency as a process of its own, which several services call; and attempts that take too long."""

from typing import Any

import numpy as np

from eventlib.policy import Retry
from sim.declare.declared import Floats
from sim.declare.dependencies import Dependency
from sim.evidence.history import History
from sim.evidence.metrics import measure
from tests.live.live_runs import both_worlds
from tests.model.small import constant, kill, rows_of, scenario, service, steady

CALL_S = 0.02


def last_lags_s(history: History, *services: str) -> Floats:
    """How long it took until a message was handled by each of these services, of all messages."""
    handled = np.concatenate([rows_of(history, "handled", name) for name in services])
    lags_s = np.zeros(handled["message"].max() + 1)
    np.maximum.at(lags_s, handled["message"], handled["t_s"] - handled["intended_s"])
    return lags_s


async def test_services_share_a_dependency(url: str) -> None:
    """One call at a time, whichever process it comes from. Who waits for too long gives up, in both worlds alike."""
    database = Dependency(capacity=1, service_time=constant(CALL_S))
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
        # Both services call when a message comes. Whichever call is served last, it has waited for the other one.
        assert (last_lags_s(history, "desk", "till") > 2 * CALL_S - 1e-6).all(), history.world
        measured = measure(history)
        assert 0.0 < measured["dependencies.database.utilisation"].item() < 1.0, history.world
        assert 0.0 < measured["dependencies.database.wait_s_mean"].item() < history.runs[0].ended_s, history.world
        begun, busy_s = (rows_of(history, kind)["value"] for kind in ("calls_begun", "slots_busy"))
        assert begun.size >= 5 and begun[-1] >= 40, history.world  # each message of both, and what was taken over
        assert busy_s[-1] > (begun[-1] - 1) * CALL_S, history.world  # the last one may be given up
        assert len(rows_of(history, "dead", "hasty")) == 20 and len(rows_of(history, "failed", "hasty")) == 40
        assert not rows_of(history, "handled", "hasty").size
