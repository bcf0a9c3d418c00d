"""A service that keeps the order of each key, on the library's ordered groups."""

from eventlib.policy import Retry
from sim.worlds.live import run_live
from sim.worlds.simulated import simulate
from tests.live.live_runs import no_process_left, problems
from tests.model.small import attempts_by_message, in_order, kill, scenario, service, steady


async def test_both_worlds_keep_the_order_of_each_key(url: str) -> None:
    """Whatever fails and whoever dies. What fails is the same, message by message."""
    retry = Retry(attempts=4, wait_s=0.03)
    desk = service(0.02, consumers=2, concurrency=4, lease_s=2.0, error_rate=0.2, retry=retry, ordered_by={"keys": 4})
    calm, deadly = (scenario(steady(40.0, 1.5), *kills, desk=desk) for kills in ((), (kill("desk", 0.5, 0.1),)))
    with no_process_left():
        live = await run_live(deadly, [0], repeats=1, url=url)
    assert in_order(live)
    assert problems(live) == {}
    simulated = simulate(calm, [0])
    most = {message: attempts for _, message, attempts in attempts_by_message(simulated, "desk")}
    cut = {message for _, message, attempts in attempts_by_message(live, "desk") if attempts != most[message]}
    assert len(cut) <= 4  # what the kill met
