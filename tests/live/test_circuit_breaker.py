"""A service with a circuit breaker whose dependency is out of order for a while, for real and simulated."""

from eventlib.policy import Retry
from sim.declare.dependencies import Dependency
from tests.live.live_runs import both_worlds
from tests.model.small import constant, fault, rows_of, scenario, service, steady


async def test_consumers_pause_until_what_they_call_is_back_in_both_worlds_alike(url: str) -> None:
    """Three attempts within 0.2 s do not outlast the outage of 1.5 s. Nearly nothing dies, because nothing is tried."""
    breaker = {"failures": 3, "failure_share": 0.1, "window_s": 0.5, "open_s": 0.4}
    desk = service(
        mean_s=0.005,
        uses=["database"],
        concurrency=4,
        lease_s=10.0,
        circuit_breaker=breaker,
        retry=Retry(attempts=3, wait_s=0.1, jitter="none"),
    )
    declared = scenario(
        steady(40.0, 3.0),
        fault("dependency_out", dependency="database", at_s=0.5, for_s=1.5),
        dependencies={"database": Dependency(capacity=4, service_time=constant(0.005))},
        desk=desk,
    )
    for history in await both_worlds(declared, url):
        opened, closed = rows_of(history, "circuit_opened"), rows_of(history, "circuit_closed")
        # At most every 0.4 s; a consumer that stands still for a while tries less often.
        assert 2 <= opened.size <= 5 and closed.size == 1 and closed["t_s"][0] > 2.0, history.world
        failed = rows_of(history, "failed")
        assert ((failed["t_s"] > 0.5) & (failed["t_s"] < closed["t_s"][0])).all(), history.world
        # Some attempts were under way when it opened; then one probe each time.
        assert failed.size <= 20 and rows_of(history, "dead").size <= 4, history.world
