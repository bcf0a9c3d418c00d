"""A service that is scaled by its backlog, for real: processes are started, and stopped in the middle of their work."""

import numpy as np
from pydantic import TypeAdapter

from sim.declare.loads import Load
from sim.evidence.metrics import measure
from tests.live.live_runs import both_worlds
from tests.model.small import rows_of, scenario, service


async def test_consumers_are_started_and_leave_in_both_worlds_alike(url: str) -> None:
    """Six seconds of work come at once: one consumer becomes three. When the backlog is gone, two leave."""
    rule = {"min": 1, "max": 3, "backlog_per_consumer": 10, "every_s": 0.5, "down_after_s": 0.5}
    desk = service(0.05, prefetch=4, lease_s=10.0, autoscale=rule)
    load = {"kind": "spike", "event": "placed", "rate_per_s": 10, "peak_rate_per_s": 12000, "at_s": 0.2}
    declared = scenario(TypeAdapter(Load).validate_python(load | {"for_s": 0.01, "duration_s": 8.0}), desk=desk)
    live, simulated = await both_worlds(declared, url)
    for history in (live, simulated):
        scaled, left = rows_of(history, "scaled"), rows_of(history, "left")
        # A look may find the generator in the middle of its work: then two are wanted on the way to three.
        assert scaled["value"][[0, -1]].tolist() == [1.0, 1.0] and scaled["value"].max() == 3.0, history.world
        assert set(left["consumer"]) == {1, 2}, history.world
        assert set(rows_of(history, "handled")["consumer"]) == {0, 1, 2}, history.world
        assert (rows_of(history, "started")["attempt"] == 1).all(), history.world
    hours = [measure(history)["consumer_hours"][0] for history in (live, simulated)]
    assert np.isfinite(hours).all() and hours[0] < 3 * live.runs[0].ended_s / 3600
