"""When a task starts is decided by the server's clock, and many that are due at once move in steps."""

import time

import pytest

import eventlib as ev
from eventlib.broker.connections import Broker
from tests.contract.test_task_queue import dispatched, names, waiting_task, worker
from tests.reading import server_passes, server_time_s
from tests.shop import Connect


async def test_trap_26_a_delay_is_counted_by_the_servers_clock(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = ev.App("shop")

    @app.task()
    async def tell() -> None: ...

    real_ns = time.time_ns
    monkeypatch.setattr(time, "time", lambda: real_ns() / 1e9 + 3600.0)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + 3600 * 10**9)
    async with connect(app) as bus:
        handle = await bus.enqueue(tell, delay_s=60.0)()
        state, now_s = await handle.state(), await server_time_s(bus._broker)
        assert state.due_at_s == pytest.approx(now_s + 60.0, abs=5.0)
        assert state.enqueued_at_s == pytest.approx(now_s, abs=5.0)


async def test_trap_27_due_tasks_move_in_limited_steps_and_none_is_lost_on_the_way(broker: Broker) -> None:
    commands = await worker(broker, next(names))
    tasks = [waiting_task(f"{number:03}")._replace(due="+1") for number in range(250)]
    await commands.queue.enqueue(tasks)
    await server_passes(broker, 0.002)
    for moved in (100, 100, 50, 0):
        before = await commands.queue.health(30.0)
        assert (await commands.promote(100)).moved == moved
        health = await commands.queue.health(30.0)
        assert health.waiting["normal"] == before.waiting["normal"] + moved
        assert health.delayed == before.delayed - moved
    assert len(await dispatched(commands, 250)) == 250


async def test_a_queue_says_how_it_stands(broker: Broker) -> None:
    commands = await worker(broker, next(names))
    limit = {"name": "one", "at_once": 1}
    tasks = [waiting_task(f"{n}", n % 4) for n in range(8)]
    tasks += [waiting_task(f"{n}", 0, limits=[limit]) for n in ("x", "y")]
    tasks.append(waiting_task("later")._replace(due="+60000"))
    await commands.queue.enqueue(tasks)
    health = await commands.queue.health(30.0)
    assert health.waiting == {"critical": 4, "high": 2, "normal": 2, "low": 2}
    assert all(age is not None and age >= 0.0 for age in health.oldest_age_s.values())
    entries = (await commands.dispatch(10, None)).entries
    await commands.ack(entries[:4])
    health = await commands.queue.health(30.0)
    assert (health.running, health.delayed, health.blocked, health.workers) == (5, 1, 1, 1)
    assert (health.slots, health.blocked_by) == ({"one": 1}, {"one": 1})
    assert set(health.oldest_age_s.values()) == {None}
    rates = (health.enqueued_per_s, health.started_per_s, health.ended_per_s)
    assert rates == pytest.approx((11 / 57.5, 9 / 57.5, 4 / 57.5), rel=0.05)
