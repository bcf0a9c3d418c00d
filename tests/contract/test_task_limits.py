"""Limits hold over all workers, and a slot is never lost: it belongs to a task that runs, not to a worker."""

import asyncio
from collections import Counter

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.keys import Keys
from eventlib.testing.waiting import eventually
from tests.contract.test_task_queue import dispatched, names, waiting_task, worker
from tests.reading import server_passes
from tests.shop import AT_ONCE, Connect, for_ever

SOON_S = 30.0


class Gate:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def pass_through(self, key: str) -> None:
        self.inside[key] += 1
        self.most[key] = max(self.most[key], self.inside[key])
        await asyncio.sleep(0.005)
        self.inside[key] -= 1


async def test_no_more_run_at_once_than_the_limits_allow_over_all_workers(connect: Connect) -> None:
    app, gate, go_on = ev.App("shop"), Gate(), asyncio.Event()
    app.queue("default", concurrency=20)

    @app.task(limit=3, limit_by="customer", limit_per_key=2)
    async def charge(customer: str, number: int) -> None:
        await asyncio.gather(gate.pass_through("all"), gate.pass_through(customer))
        await go_on.wait()

    @app.task()
    async def free() -> None: ...

    async with connect(app) as bus, connect(app) as other, bus.running(), other.running():
        calls = [charge.call(customer, number) for number in range(10) for customer in "aabc"]
        handles = await bus.tasks.enqueue_many(calls)
        await (await bus.enqueue(free)()).result(SOON_S)  # it is behind the others, and they do not hold it up
        assert (await handles[-1].state()).state in ("blocked", "waiting")
        go_on.set()
        await asyncio.gather(*(handle.result(SOON_S) for handle in handles))
        assert gate.most["all"] == 3
        assert max(gate.most[customer] for customer in "abc") == 2
        health = await bus.queue_health()
        assert (health.blocked, health.slots) == (0, {})


async def test_failures_retries_and_cancellations_give_their_slots_back(connect: Connect) -> None:
    app, starts = ev.App("shop"), list[int]()

    @app.task(limit=1, retry=AT_ONCE)
    async def charge(number: int) -> None:
        starts.append(number)
        if number < 3:
            raise ValueError("no")
        if number == 3:
            await for_ever()

    async with connect(app) as bus, bus.running():
        handles = await bus.tasks.enqueue_many([charge.call(number) for number in range(5)])
        await eventually(lambda: 3 in starts)
        assert await handles[3].cancel() == "cancelling"
        await asyncio.gather(*(handle.result(SOON_S) for handle in handles), return_exceptions=True)
        assert sorted(starts) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 4]
        assert (await bus.queue_health()).slots == {}


async def test_no_window_has_more_starts_than_the_rate_allows(connect: Connect) -> None:
    app, started = ev.App("shop"), list[float]()

    @app.task(rate=ev.Rate(3, per_s=0.3))
    async def call() -> None: ...

    async with connect(app) as bus, bus.running():
        handles = await bus.tasks.enqueue_many([call.call() for _ in range(8)])
        await handles[-1].result(SOON_S)
        for handle in handles:
            started.append((await handle.state()).started_at_s or 0.0)
        started.sort()
        assert min(after - before for before, after in zip(started, started[3:], strict=False)) >= 0.299


async def test_a_rate_is_not_mistaken_for_the_limit_of_any_key(connect: Connect) -> None:
    app, keys = ev.App("shop"), ["rate/", "rate", "#rate", "/rate/"]
    begun, all_keys = set[str](), asyncio.Event()

    @app.task(rate=ev.Rate(2, per_s=0.05), limit_by="key", limit_per_key=1)
    async def call(key: str) -> None:
        begun.add(key)
        if len(begun) == len(keys):
            all_keys.set()
        await all_keys.wait()

    async with connect(app) as bus, bus.running():
        handles = await bus.tasks.enqueue_many([call.call(key) for key in 2 * keys])
        await asyncio.gather(*(handle.result(SOON_S) for handle in handles))


async def test_starts_that_count_no_more_are_forgotten_a_few_at_a_time(
    broker: Broker, raw: redis.Redis, namespace: str
) -> None:
    queue, rate = next(names), {"name": "r", "starts": 40, "within": 50}
    commands = await worker(broker, queue)
    starts = Keys(namespace).queue(f"tasks.{queue}").starts

    async def start(*ids: str) -> None:
        await commands.queue.enqueue([waiting_task(id_, limits=[rate]) for id_ in ids])
        assert await dispatched(commands, 100) == [*ids]

    await start(*(f"a{number}" for number in range(25)))
    await server_passes(broker, 0.05)
    await start("b")
    assert await raw.zcard(starts) == 25 - 10 + 1
    await start("c", "d")
    assert await raw.zcard(starts) <= 3


async def test_a_task_deleted_by_hand_that_waits_for_a_rate_stops_no_other(
    broker: Broker, raw: redis.Redis, namespace: str
) -> None:
    queue, rate = next(names), {"name": "r", "starts": 1, "within": 20}
    commands = await worker(broker, queue)
    await commands.queue.enqueue([waiting_task(id_, limits=[rate]) for id_ in "abc"])
    assert await dispatched(commands, 10) == ["a"]
    await raw.hdel(Keys(namespace).queue(f"tasks.{queue}").records, "b")
    await server_passes(broker, 0.02)
    await commands.promote(10)
    assert await dispatched(commands, 10) == ["c"]


AT_ONCE_1 = {"name": "one", "at_once": 1}
AT_ONCE_OTHER = {"name": "other", "at_once": 1}


async def test_a_slot_that_a_task_cannot_use_goes_to_the_next_that_waits_for_it(broker: Broker) -> None:
    """Task c is let go for "one" and stopped by "other": d, which waits for "one" alone, must not wait for ever."""
    commands = await worker(broker, next(names))
    await commands.queue.enqueue(
        [
            waiting_task("a", limits=[AT_ONCE_1]),
            waiting_task("b", limits=[AT_ONCE_OTHER]),
            waiting_task("c", limits=[AT_ONCE_1, AT_ONCE_OTHER]),
            waiting_task("d", limits=[AT_ONCE_1]),
        ]
    )
    [a, *_] = (await commands.dispatch(10, None)).entries
    await commands.ack([a])
    assert await dispatched(commands, 10) == ["d"]


async def test_a_task_that_is_cancelled_when_its_turn_has_come_lets_the_next_one_go(broker: Broker) -> None:
    commands = await worker(broker, next(names))
    await commands.queue.enqueue([waiting_task(id_, limits=[AT_ONCE_1]) for id_ in "abc"])
    [a] = (await commands.dispatch(10, None)).entries
    await commands.ack([a])
    assert await commands.queue.cancel("b") == ("cancelled", False)
    assert await dispatched(commands, 10) == ["c"]


@pytest.mark.usefixtures("no_sweeps")
async def test_trap_35_a_killed_worker_takes_no_slot_with_it(broker: Broker) -> None:
    queue = next(names)
    killed = await worker(broker, queue)
    await killed.queue.enqueue([waiting_task(id_, limits=[AT_ONCE_1]) for id_ in "ab"])
    assert await dispatched(killed, 10) == ["a"]  # and nothing is heard of it any more
    heir = type(killed)(broker, queue, "w2", [2], {})
    assert await dispatched(heir, 10) == []  # the task that runs has the slot
    await server_passes(broker, 0.01)
    [entry] = (await heir.sweep(0.01, 10, 0.01)).entries
    assert entry.origin == "a"
    await heir.ack([entry])
    assert await dispatched(heir, 10) == ["b"]


async def test_trap_35_slots_of_tasks_whose_entries_are_gone_are_given_back(
    broker: Broker, raw: redis.Redis, namespace: str
) -> None:
    queue = next(names)
    commands = await worker(broker, queue)
    await commands.queue.enqueue([waiting_task(id_, limits=[AT_ONCE_1]) for id_ in "ab"])
    assert await dispatched(commands, 10) == ["a"]
    await raw.delete(Keys(namespace).group(f"tasks.{queue}", "workers").retry)
    await commands.ensure_group()
    assert await commands.free_stuck() == 1
    assert await dispatched(commands, 10) == ["b"]
    look = await commands.queue.look("a")
    assert look is not None
    assert (look.record["state"], look.record["reason"]) == ("failed", "lost")


async def test_a_worker_that_leaves_gives_its_tasks_back_to_their_places_with_their_slots(broker: Broker) -> None:
    queue = next(names)
    commands = await worker(broker, queue)
    tasks = [waiting_task(id_, tenant="t", limits=[AT_ONCE_1] if id_ == "a" else []) for id_ in "abcd"]
    await commands.queue.enqueue(tasks)
    assert await dispatched(commands, 2) == ["a", "b"]
    assert await commands.leave() == 2
    other = type(commands)(broker, queue, "w2", [2], {})
    await other.ensure_group()
    assert await dispatched(other, 4) == ["a", "b", "c", "d"]


async def test_a_task_of_low_priority_gets_its_turn_behind_a_limit_that_is_always_full(connect: Connect) -> None:
    """Each task is followed by another one of critical priority, so the limit's one slot is never free for long."""
    app, order = ev.App("shop"), list[str]()
    app.queue("default", concurrency=4)

    @app.task(limit=1)
    async def work(name: str) -> None:
        order.append(name)
        if "low" not in order:
            await bus.enqueue(work, priority="critical")("critical")

    async with connect(app) as bus:
        for _ in range(4):
            await bus.enqueue(work, priority="critical")("critical")
        low = await bus.enqueue(work, priority="low")("low")
        async with bus.running():
            await low.result(SOON_S)
    assert order.index("low") <= 4 + 14, "those before it, and then its turn"
