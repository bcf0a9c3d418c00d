"""Tasks: enqueued once, run by a worker, retried, given up, waited for."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.keys import Keys
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect

SOON_S = 30.0


async def test_a_task_that_fails_is_retried_and_then_a_dead_letter_that_can_be_replayed(connect: Connect) -> None:
    app, attempts, broken = ev.App("shop"), list[int](), [True]

    @app.task(retry=AT_ONCE)
    async def charge(order: int) -> int:
        attempts.append(ev.current_task().attempt)
        if broken[0]:
            raise ValueError("no funds")
        return order

    async with connect(app) as bus, bus.running():
        handle = await bus.enqueue(charge)(7)
        with pytest.raises(ev.TaskFailed, match="no funds") as failed:
            await handle.result(SOON_S)
        assert attempts == [1, 2, 3]
        assert failed.value.reason == "exhausted"
        assert (await handle.state()).attempts == 3
        queue = bus.dead_letters("tasks.default", "workers")
        [dead] = await queue.find()
        assert (dead.id, dead.origin, dead.event_id) == (failed.value.dead_letter_id, handle.id, handle.id)
        with pytest.raises(ev.DecodeError, match="order"):
            await queue.edit(dead.id, data={"order": "many"})
        broken[0] = False
        await queue.edit(dead.id, data={"order": 8})
        await queue.replay(ev.Selection())
        await eventually(lambda: handle_is(handle, "succeeded"))
        assert await handle.result(SOON_S) == 8


async def handle_is(handle: ev.TaskHandle[int], state: str) -> bool:
    return (await handle.state()).state == state


async def test_a_replayed_task_that_dies_again_says_how_often_it_was_replayed(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task(retry=ev.Retry(attempts=1))
    async def fail() -> None:
        raise ev.Reject("never")

    async with connect(app) as bus, bus.running():
        queue = bus.dead_letters("tasks.default", "workers")
        for replays in range(3):
            if not replays:
                await bus.enqueue(fail)()
            await eventually(lambda: size_is(queue, 1))
            [dead] = await queue.find()
            assert (dead.replays, dead.reason) == (replays, "rejected")
            await queue.replay(ev.Selection())


async def test_none_of_many_replayed_tasks_is_lost(connect: Connect) -> None:
    """As many as one hand-out lets in are let in without being handed out, and must be there afterwards."""
    app, broken, ran = ev.App("shop"), [True], set[int]()

    @app.task(retry=ev.Retry(attempts=1))
    async def charge(order: int) -> None:
        if broken[0]:
            raise ev.Reject("no")
        ran.add(order)

    async with connect(app) as bus, bus.running():
        await bus.tasks.enqueue_many([charge.call(order) for order in range(220)])
        queue = bus.dead_letters("tasks.default", "workers")
        await eventually(lambda: size_is(queue, 220))
        broken[0] = False
        await queue.replay(ev.Selection())
        await eventually(lambda: ran == set(range(220)))


async def size_is(queue: ev.DeadLetters, size: int) -> bool:
    return await queue.size() == size


async def test_a_task_with_its_own_id_is_enqueued_once(connect: Connect) -> None:
    app, ran = ev.App("shop"), list[int]()

    @app.task()
    async def note(number: int) -> None:
        ran.append(number)

    async with connect(app) as bus, bus.running():
        first = await bus.enqueue(note, id="order-A1")(1)
        await first.result(SOON_S)
        again = await bus.enqueue(note, id="order-A1")(2)  # it is known as long as its result
        await again.result(SOON_S)
        handles = await bus.tasks.enqueue_many([note.call(3), note.call(4)], ids=["a", "a"])
        await handles[1].result(SOON_S)
        assert ran == [1, 3]


async def test_many_tasks_of_several_queues_are_enqueued_in_few_round_trips(connect: Connect) -> None:
    app, ran = ev.App("shop"), list[int]()

    @app.task()
    async def one(number: int) -> int:
        ran.append(number)
        return number

    @app.task(queue="slow")
    async def other(number: int) -> int:
        return -number

    async with connect(app) as bus:
        calls = [task.call(number) for number in range(700) for task in (one, other)]
        handles = await bus.tasks.enqueue_many(calls)
        async with bus.running(queues=["default"]):
            assert await handles[2 * 699].result(SOON_S) == 699
            assert ran == list(range(700))
            assert (await handles[1].state()).state == "waiting"
        async with bus.running():
            assert await handles[2 * 699 + 1].result(SOON_S) == -699


async def test_a_task_starts_at_its_time_and_a_time_that_has_passed_is_now(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task()
    async def tell() -> None: ...

    async with connect(app) as bus, bus.running():
        now = datetime.now(UTC)
        later = await bus.enqueue(tell, at=now + timedelta(seconds=0.2))()
        passed = await bus.enqueue(tell, at=now - timedelta(days=1))()
        far = await bus.enqueue(tell, at=datetime(9999, 12, 31, tzinfo=UTC))()
        await passed.result(SOON_S)
        await later.result(SOON_S)
        state = await later.state()
        assert state.started_at_s is not None
        assert state.started_at_s >= now.timestamp() + 0.2
        assert (await far.state()).state == "delayed"
        assert (await bus.tasks.run_now("default", far.id)).state != "delayed"
        await far.result(SOON_S)


async def test_a_task_that_no_worker_declares_is_a_dead_letter_that_says_so(connect: Connect) -> None:
    old, new = ev.App("old"), ev.App("new")

    @old.task()
    async def renamed() -> None: ...

    @new.task()
    async def now_called_so() -> None: ...

    async with connect(old) as before, connect(new) as bus, bus.running():
        handle = await before.enqueue(renamed)()
        with pytest.raises(ev.TaskFailed, match="no task 'renamed'") as failed:
            await handle.result(SOON_S)
        assert failed.value.reason == "unknown_task"


async def test_a_result_that_cannot_be_kept_is_a_failure_that_says_so(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task(retry=AT_ONCE)
    async def large(size: int) -> str:
        return "x" * size

    @app.task(retry=AT_ONCE)
    async def wrong() -> int:
        return "seven"  # type: ignore[return-value]  # that is the mistake

    async with connect(app) as bus, bus.running():
        assert len(await (await bus.enqueue(large)(1_000_000)).result(SOON_S)) == 1_000_000
        with pytest.raises(ev.TaskFailed, match="1,048,576"):
            await (await bus.enqueue(large)(2**20)).result(SOON_S)
        with pytest.raises(ev.TaskFailed, match="its annotation refuses"):
            await (await bus.enqueue(wrong)()).result(SOON_S)


async def test_what_a_task_leaves_is_forgotten_when_it_was_kept_long_enough(
    connect: Connect, raw: redis.Redis, namespace: str
) -> None:
    app, ran = ev.App("shop"), list[int]()

    @app.task(keep_result_s=0.05, unique_by=["number"])
    async def give(number: int) -> int:
        await ev.current_task().progress(1.0)
        ran.append(number)
        return number

    keys = Keys(namespace).queue("tasks.default")
    async with connect(app) as bus, bus.running():
        handle = await bus.enqueue(give)(1)
        await eventually(lambda: ran)
        for key in (keys.results, keys.progress, keys.bodies, keys.unique):
            await eventually(lambda key=key: is_gone(raw, key))  # type: ignore[misc]
        with pytest.raises(ev.MissingTask):
            await handle.result(SOON_S)
        assert await handle.cancel() == "unknown"
        assert await bus.tasks.find("default") == []
        expiries: Any = await raw.zrange(keys.expiries, 0, -1, withscores=True)
        [(expiry, at_ms)] = expiries
        assert at_ms / 1000.0 > time.time() + 50.0  # its id is known for a minute
        await raw.zadd(keys.expiries, {expiry: 0.0})
        for key in (keys.records, keys.expiries):
            await eventually(lambda key=key: is_gone(raw, key))  # type: ignore[misc]


async def test_an_enqueue_that_is_repeated_when_the_result_is_forgotten_runs_nothing(
    connect: Connect, raw: redis.Redis, namespace: str
) -> None:
    app, ran = ev.App("shop"), list[int]()

    @app.task(keep_result_s=0.001, unique_by=["number"])
    async def note(number: int) -> None:
        ran.append(number)

    records = Keys(namespace).queue("tasks.default").records
    async with connect(app) as bus, bus.running():

        async def is_forgotten(id_: str) -> bool:
            return await raw.hget(records, id_) == b""

        await bus.enqueue(note, id="A1")(1)
        await eventually(lambda: is_forgotten("A1"))
        await bus.enqueue(note, id="A1")(1)
        await bus.enqueue(note, id="A2")(1)  # the unique key is free
        await eventually(lambda: is_forgotten("A2"))
        assert ran == [1, 1]


async def is_gone(raw: redis.Redis, key: str) -> bool:
    return not await raw.exists(key)


async def test_a_task_queue_is_not_taken_for_a_stream_of_events(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task()
    async def note(number: int) -> None: ...

    async with connect(app) as bus:
        with pytest.raises(ev.InvalidArgument, match=r"bus\.enqueue"):
            await bus.publish(note.event(1))
        with pytest.raises(ev.InvalidArgument, match="queue_health"):
            await bus.backlog("tasks.default", "workers")
        with pytest.raises(ev.InvalidArgument, match="is not a task"):
            bus.enqueue(print)  # type: ignore[arg-type]  # refused where it stands, not where it is awaited
        with pytest.raises(ev.InvalidArgument, match=r"task\.call"):
            await bus.tasks.enqueue_many([note])  # type: ignore[arg-type]
        with pytest.raises(ev.InvalidArgument, match="delay_s='1'"):
            await bus.enqueue(note, delay_s="1")(1)  # type: ignore[arg-type]
        other = ev.App("other").task()(note.function)
        with pytest.raises(ev.InvalidArgument, match="declares no task"):
            await bus.enqueue(other)(1)
        with pytest.raises(ev.InvalidArgument, match="no tasks to run"):
            async with bus.running(queues=["slow"]):
                pass
        with pytest.raises(ev.InvalidArgument, match="queues='default'; give a list"):
            async with bus.running(queues="default"):
                pass


async def test_a_wrong_call_is_refused_and_shows_the_right_one(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task
    async def note(number: int) -> None: ...

    async with connect(app) as bus:
        calls: list[tuple[Any, str]] = [
            (lambda: bus.enqueue(note, 1), r"await bus.enqueue\(task"),  # type: ignore[call-arg]
            (lambda: bus.enqueue(note, delay=1.0), r"unexpected keyword argument 'delay'"),  # type: ignore[call-arg]
            (lambda: bus.tasks.enqueue(note, 1), r"await bus.tasks.enqueue\(task"),  # type: ignore[call-arg]
            (bus.tasks.enqueue_many, r"\[task.call\(arguments\)"),
            (bus.start, r"await bus.start\(saga"),
        ]
        for call, right in calls:
            with pytest.raises(ev.InvalidArgument, match=right):
                call()
        with pytest.raises(ev.InvalidArgument, match=r"nothing was enqueued; call it as"):
            await bus.enqueue(note)  # type: ignore[misc]
        for wrong in (note.call(1), "note"):
            with pytest.raises(ev.InvalidArgument, match="give a list"):
                await bus.tasks.enqueue_many(wrong)  # type: ignore[arg-type]
        assert await bus.tasks.find("default") == []


async def test_waiting_for_a_result_is_ended_by_its_limit_and_by_closing(connect: Connect) -> None:
    app = ev.App("shop")

    @app.task()
    async def never() -> None: ...

    async with connect(app) as bus:
        handle = await bus.enqueue(never)()
        with pytest.raises(ev.TaskWaitTimeout):
            await handle.result(0.01)
        with pytest.raises(ev.InvalidArgument, match="timeout_s=nan"):
            await handle.result(float("nan"))
        waiting = asyncio.create_task(handle.result())
        await eventually(lambda: bus.tasks._notices["default"]._waiters)
    with pytest.raises(ev.BusClosed):
        await waiting


async def test_correlation_and_trace_reach_the_task_and_what_it_publishes(connect: Connect) -> None:
    app, found, buses = ev.App("shop"), list[str | None](), list[ev.Bus]()

    @app.task()
    async def second() -> None:
        found.append(ev.current_task().delivery.correlation_id)

    @app.task()
    async def first() -> None:
        await buses[0].enqueue(second)()

    async with connect(app) as bus, bus.running():
        buses.append(bus)
        handle = await bus.enqueue(first)()
        await eventually(lambda: len(found) == 1)
        assert found == [handle.id]
