"""Each fault for real: processes, a server and the proxy. What it does to them, and that no promise is broken."""

import secrets
import sys
from typing import Any, cast

import numpy as np
import pytest

from eventlib import App, Delivery, Event, connect
from eventlib.broker.scripts import ACK
from eventlib.policy import Retry
from eventlib.testing import PrivateServer, fault_proxy, private_server
from eventlib.testing.waiting import eventually
from sim.declare.declared import Floats
from sim.declare.faults import Fault
from sim.declare.scenario import Scenario
from sim.errors import InvalidScenario, LiveRunFailed
from sim.evidence.history import History
from sim.worlds.live import run_live
from sim.worlds.messages import event_classes
from sim.worlds.simulated import simulate
from sim.worlds.simulated.link import ASKS, HANDS_OUT, PUBLISHES, SETTLES
from tests.live.live_runs import delay_orders, keys_of_runs, no_process_left, problems
from tests.model.small import fault, rows_of, scenario, service, steady
from tests.repository import TOP

RATE = 50.0
LEASE_S = 0.6


def declared(*faults: Fault, duration_s: float, **desk: Any) -> Scenario:
    fields = {"consumers": 2, "concurrency": 2, "lease_s": LEASE_S} | desk
    return scenario(steady(RATE, duration_s), *faults, desk=service(0.02, **fields))


async def run(*faults: Fault, url: str | None, duration_s: float = 1.5, **desk: Any) -> History:
    return await run_live(declared(*faults, duration_s=duration_s, **desk), [0], repeats=1, url=url)


def within(history: History, kind: str, from_s: float, until_s: float) -> int:
    times_s = rows_of(history, kind)["t_s"]
    return int(np.count_nonzero((times_s > from_s) & (times_s < until_s)))


def mostly_silent(history: History, kind: str, from_s: float, until_s: float) -> bool:
    """Whether nothing of this kind was noted for most of this time. A busy machine begins and notes things late."""
    times_s = rows_of(history, kind)["t_s"]
    inside_s = times_s[(times_s > from_s) & (times_s < until_s)]
    return bool(np.diff([from_s, *inside_s, until_s]).max() > (until_s - from_s) / 2)


def lags_of_sent(history: History, from_s: float, until_s: float) -> Floats:
    """The lags of what was sent between these times, and began in its first attempt. There are some."""
    sent, started = rows_of(history, "sent"), rows_of(history, "started")
    inside = sent[(sent["t_s"] > from_s + 0.02) & (sent["t_s"] < until_s - 0.1)]["message"]
    found = started[np.isin(started["message"], inside) & (started["attempt"] == 1)]
    assert found.size
    return cast(Floats, found["t_s"] - found["intended_s"])


def noted_s(history: History, kind: str) -> float:
    return float(rows_of(history, kind)["t_s"][0])


async def test_a_service_that_is_slow_twice_over_then_out_and_poisoned(url: str) -> None:
    outage = fault("outage", service="desk", at_s=0.5, back_after_s=0.3)
    slows = [
        fault("slow", service="desk", at_s=at_s, for_s=for_s, factor=3.0) for at_s, for_s in ((0.1, 0.15), (0.12, 0.13))
    ]
    poison = fault("poison", service="desk", messages=[5, 70])
    with no_process_left():
        history = await run(outage, *slows, poison, url=url, retry=Retry(attempts=9, wait_s=0.01))
    assert problems(history) == {}
    assert len(rows_of(history, "killed")) == len(rows_of(history, "restarted")) == 2
    assert within(history, "started", rows_of(history, "killed")["t_s"].max(), 0.8) == 0
    dead = rows_of(history, "dead")
    assert sorted(dead["message"]) == [5, 70]
    ended_s = {int(row["message"]): float(row["t_s"]) for row in rows_of(history, "handled")}
    twice = [row for row in rows_of(history, "started") if 0.12 < row["t_s"] < 0.23 and row["message"] in ended_s]
    took_s = [ended_s[int(row["message"])] - row["t_s"] for row in twice]
    assert not took_s or np.median(took_s) >= 9 * 0.02
    simulated = simulate(history.scenario, [0])
    assert sorted(rows_of(simulated, "dead")["message"]) == [5, 70]


async def test_poison_that_kills_its_consumers(url: str) -> None:
    """Each attempt kills one, which is replaced; the message ends as a dead letter, all others are handled.

    A consumer has one message in hand. Another one might be killed with the poison twice, which are all its attempts.
    """
    poison = fault("poison", service="desk", messages=[20], how="kill")
    with no_process_left():
        history = await run(poison, url=url, retry=Retry(attempts=2), concurrency=1, lease_s=1.0)
    assert problems(history) == {}
    assert len(rows_of(history, "killed")) == len(rows_of(history, "restarted")) == 2
    assert rows_of(history, "dead")["message"].tolist() == [20]
    assert len(np.unique(rows_of(history, "handled")["message"])) == RATE * 1.5 - 1
    assert await keys_of_runs(url) == set()


async def test_a_server_that_is_away_and_a_network_that_breaks_is_silent_slow_and_narrow(url: str) -> None:
    """One after the other: nothing passes, or later, and nothing is lost. A consumer that starts meanwhile waits."""
    away = fault("server_away", at_s=0.3, for_s=0.4)
    kill = fault("kill", service="desk", at_s=0.4, back_after_s=0.0)
    hole = fault("black_hole", at_s=1.2, for_s=0.3)
    latency = fault("latency", at_s=1.8, for_s=0.6, added_s=0.03)
    narrow = fault("bandwidth", at_s=2.5, for_s=0.6, bytes_per_s=20_000)
    with no_process_left():
        history = await run(away, kill, fault("reset", at_s=1.0), hole, latency, narrow, url=url, duration_s=3.3)
    assert problems(history) == {}
    away_s, _, hole_s, *slow_s = rows_of(history, "network_fails")["t_s"].tolist()
    back_s, passes_s, *fast_s = rows_of(history, "network_works")["t_s"].tolist()
    for kind, from_s, until_s in (
        ("published", away_s, back_s),
        ("started", away_s, back_s),
        ("published", hole_s, passes_s),
    ):
        assert mostly_silent(history, kind, from_s, until_s)
    assert noted_s(history, "restarted") > back_s
    for from_s, until_s, least_s in zip(slow_s, fast_s, (0.06, 0.02), strict=True):
        assert np.all(lags_of_sent(history, from_s, until_s) >= least_s)


async def test_when_the_network_fails_is_noted_by_what_lets_it_fail(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, the proxy gets its orders later than they are given."""
    delay_orders(monkeypatch, "network", 0.3)
    with no_process_left():
        history = await run(fault("latency", at_s=0.2, for_s=0.6, added_s=0.03), url=url)
    [slow_s], [fast_s] = (rows_of(history, kind)["t_s"] for kind in ("network_fails", "network_works"))
    assert slow_s > 0.5
    assert np.all(lags_of_sent(history, slow_s, fast_s) >= 0.06)


async def test_a_lost_reply_is_repeated_and_nothing_is_done_twice(url: str) -> None:
    with no_process_left():
        history = await run(fault("lost_replies", at_s=0.4, for_s=0.8), url=url, lease_s=1.6)
    assert problems(history) == {}
    handled = rows_of(history, "handled")
    assert len(np.unique(handled["message"])) == RATE * 1.5
    assert rows_of(history, "started")["attempt"].max() == 2  # what was handed out in a lost reply


async def test_a_server_that_restarts_and_one_that_is_full() -> None:
    """Only a private server. All is there afterwards, and the server takes orders as before."""
    restart = fault("server_restart", at_s=0.4, back_after_s=0.2)
    full = fault("server_full", at_s=1.0, for_s=1.0)
    with no_process_left(), private_server() as server:
        history = await run(restart, full, url=server.url, duration_s=2.4)
        assert problems(history) == {}
        assert mostly_silent(history, "published", noted_s(history, "server_full"), noted_s(history, "server_has_room"))
        assert await keys_of_runs(server.url) == set()


async def test_what_a_server_loses_is_shown_as_lost() -> None:
    outage = fault("outage", service="desk", at_s=0.2, back_after_s=0.8)
    loss = fault("server_restart", at_s=0.7, with_data=False)
    with no_process_left(), private_server() as server:
        history = await run(outage, loss, url=server.url)
    assert set(problems(history)) == {"lost", "balanced"}
    sent, published, handled = (rows_of(history, kind) for kind in ("sent", "published", "handled"))
    lost = sent[np.isin(sent["message"], np.setdiff1d(published["message"], handled["message"]))]
    assert lost.size and np.all(lost["t_s"] <= noted_s(history, "server_stopped"))  # what it had, and nothing else
    assert problems(history)["lost"].startswith(f"{lost.size} of {int(RATE * 1.5)}")
    simulated = simulate(history.scenario, [0])
    assert set(problems(simulated)) == {"lost", "balanced"}


async def test_a_run_that_ends_in_a_fault_leaves_server_and_network_as_they_were() -> None:
    away = fault("server_away", at_s=0.2, for_s=19.0)
    stopped = fault("server_restart", at_s=0.2, back_after_s=19.0)
    with no_process_left(), private_server() as server:
        for one in (away, stopped):
            cut_short = declared(one, duration_s=0.3).model_copy(update={"drain_s": 0.3})
            history = await run_live(cut_short, [0], repeats=1, url=server.url)
            assert rows_of(history, "sent").size
        assert await keys_of_runs(server.url) == set()


async def test_what_cannot_be_undone_is_told_and_the_rest_is_cleaned_up(monkeypatch: pytest.MonkeyPatch) -> None:
    set_full = PrivateServer.set_full

    def stays_full(server: PrivateServer, full: bool) -> None:
        if not full:
            raise ConnectionError("nothing listens")
        set_full(server, full)

    monkeypatch.setattr(PrivateServer, "set_full", stays_full)
    full = fault("server_full", at_s=0.2, for_s=19.0)
    cut_short = declared(full, duration_s=0.3).model_copy(update={"drain_s": 0.3})
    with no_process_left(), private_server() as server:
        with pytest.raises(LiveRunFailed, match="could not be undone: nothing listens"):
            await run_live(cut_short, [0], repeats=1, url=server.url)
        assert await keys_of_runs(server.url) == set()


async def test_a_server_that_is_not_ours_is_not_stopped(url: str) -> None:
    """The tests' own server is private to another process as far as this run can tell."""
    with pytest.raises(InvalidScenario, match="only a server of the run's own is stopped or filled"):
        await run(fault("server_restart", at_s=0.4), url="redis://127.0.0.1:1/0")


def test_a_private_server_is_known_to_its_process_alone() -> None:
    with private_server() as server:
        assert PrivateServer.of_this_process(server.url) is server
        assert PrivateServer.of_this_process("redis://127.0.0.1:1/0") is None
    assert PrivateServer.of_this_process(server.url) is None


async def test_calls_have_as_many_bytes_as_the_model_thinks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published one by one and in a batch, asked for, handed out and acknowledged: what passes a proxy."""
    passed: list[bytes] = []

    async def send(line: Any, data: bytes) -> None:
        passed.append(data)
        await pass_on(line, data)

    lines = sys.modules["eventlib.testing.fault_proxy"]
    pass_on = lines._Line.send
    monkeypatch.setattr(lines._Line, "send", send)
    event_class = event_classes(Scenario.load(TOP / "data" / "scenarios" / "one-fault.yaml"))["order.placed"]
    events = [event_class.model_validate({"index": 100 + number, "intended_s": 1 / 3}) for number in range(100)]
    app, handled = App("billing"), list[Event]()

    @app.subscribe(event_class, group="billing")
    async def handle(event: Event, _: Delivery) -> None:
        handled.append(event)

    def size(word: bytes) -> int:
        """Of the first call or reply that has the word in it."""
        return next((len(data) for data in passed if word in data), 0)

    namespace = f"wb-{secrets.token_hex(6)}"
    async with fault_proxy(url) as proxy, connect(app, proxy.url, namespace=namespace) as bus:
        await bus.publish(events[0])
        passed.clear()
        await bus.publish(events[1])
        alone = size(b"EVALSHA")
        passed.clear()
        await bus.publish_many(events)
        together = sum(len(data) for data in passed)
        await bus.delete_all()
        async with bus.running():
            await bus.publish(events[0])  # after this one, the server has the scripts
            await eventually(lambda: handled and size(b"XREADGROUP"))
            await bus.drained("order.placed", "billing")
            passed.clear()
            await bus.publish(events[1])
            await eventually(lambda: size(ACK.sha.encode()) and size(b"XREADGROUP"))
            asked, handed_out, acked = size(b"XREADGROUP"), size(b"*1\r\n*2\r\n"), size(ACK.sha.encode())
        await bus.delete_all()
    assert alone == pytest.approx(PUBLISHES.call + PUBLISHES.event, rel=0.1)
    assert together == pytest.approx(PUBLISHES.call + 100 * PUBLISHES.event, rel=0.1)
    assert asked == pytest.approx(ASKS.call, rel=0.1)
    assert handed_out == pytest.approx(HANDS_OUT.call + HANDS_OUT.event, rel=0.1)
    assert acked == pytest.approx(SETTLES.call + SETTLES.event, rel=0.1)
