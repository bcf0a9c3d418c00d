"""A task that may be what ends its workers waits in its queue, without its slots, until a worker may have it."""

import asyncio
import json
import os
import signal
from itertools import count
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.keys import Keys
from eventlib.broker.tasks import TaskCommands
from eventlib.queueing import PRIORITIES, WEIGHTS, FairQueue, Limit
from eventlib.records import Entry
from eventlib.testing import eventually
from tests.contract.test_poison import LEASE_S, POISON, supervised
from tests.contract.test_task_queue import PATTERN, waiting_task
from tests.shop import Connect

ONE = Limit("one", at_once=1)
HOUR_S = 3600.0
queues = (f"s{number}" for number in count())


class Workers:
    """Workers of one queue that end when a test says so. What they held is taken over as if a lease had passed."""

    def __init__(self, broker: Broker, raw: redis.Redis, namespace: str) -> None:
        self.queue = next(queues)
        self._broker = broker
        self._raw = raw
        keys = Keys(namespace).group(f"tasks.{self.queue}", "workers")
        self._retry, self._sweep = keys.retry, keys.sweep

    async def new(self, name: str) -> TaskCommands:
        commands = TaskCommands(self._broker, self.queue, name, PATTERN, {})
        await commands.ensure_group()
        return commands

    async def end(self, name: str, heir: TaskCommands) -> list[Entry]:
        """A worker ends, and another one sweeps. Returns what that one takes over."""
        for entry in await self._raw.xpending_range(self._retry, "workers", "-", "+", 100, name):
            row: dict[str, Any] = dict(entry)
            count = {"retrycount": row["times_delivered"], "idle": int(HOUR_S * 1000)}
            await self._raw.xclaim(self._retry, "workers", name, 0, [row["message_id"]], justid=True, **count)
        await eventually(self._may_sweep)
        return (await heir.sweep(HOUR_S / 2, 100, 0.0, attempts=99)).entries

    async def _may_sweep(self) -> bool:
        """Two sweeps are a millisecond apart at least."""
        due_ms = float(await self._raw.hget(self._sweep, "due") or 0)
        seconds, microseconds = await self._raw.time()
        return seconds * 1000 + microseconds / 1000 >= due_ms


async def test_a_suspect_gives_its_slot_back_while_it_waits(broker: Broker, raw: redis.Redis, namespace: str) -> None:
    workers = Workers(broker, raw, namespace)
    first, second, third, busy = [await workers.new(name) for name in ("w1", "w2", "w3", "busy")]
    slot = [{"name": "one", "at_once": 1}]
    tasks = [waiting_task("other"), waiting_task("a", limits=slot), waiting_task("b", limits=slot)]
    await first.queue.enqueue(tasks[:1])
    assert len((await first.dispatch(1, None)).entries) == 1
    assert len(await workers.end("w1", busy)) == 1  # from now on, it holds what was taken over

    await first.queue.enqueue(tasks[1:2])
    assert [entry.origin for entry in (await first.dispatch(9, None)).entries] == ["a"]
    [taken] = await workers.end("w1", second)
    assert (taken.origin, taken.deliveries) == ("a", 2)
    assert await workers.end("w2", third) == []
    health = await third.queue.health(1.0)
    assert (health.running, health.slots, health.blocked_by) == (1, {}, {"(suspects)": 1})
    look = await third.queue.look("a")
    assert look is not None and look.record["state"] == "blocked"

    assert (await busy.dispatch(9, None)).entries == [], "it holds what was taken over"
    await first.queue.enqueue(tasks[2:])
    [b] = (await busy.dispatch(9, None)).entries
    assert b.origin == "b", "others pass a suspect that waits for a worker"
    assert (await third.dispatch(9, None)).entries == [], "b has the slot"
    await busy.ack([b])
    [suspect] = (await third.dispatch(9, None)).entries
    assert (suspect.origin, suspect.attempts, suspect.deliveries) == ("a", 0, 3)


async def test_a_worker_has_one_suspect_and_nothing_that_was_taken_over_beside_it(
    broker: Broker, raw: redis.Redis, namespace: str
) -> None:
    workers = Workers(broker, raw, namespace)
    w1, w2, w3, w4, w5 = [await workers.new(f"w{number}") for number in range(1, 6)]
    await w1.queue.enqueue([waiting_task(id_) for id_ in "abc"])
    assert len((await w1.dispatch(2, None)).entries) == 2
    assert len(await workers.end("w1", w2)) == 2
    assert await workers.end("w2", w3) == []
    handed_out = (await w3.dispatch(9, None)).entries
    assert [(entry.origin, entry.deliveries) for entry in handed_out] == [("a", 3), ("c", 1)]
    assert len((await w4.dispatch(9, None)).entries) == 1, "the other suspect"
    await w1.queue.enqueue([waiting_task("d")])
    assert len((await w5.dispatch(9, None)).entries) == 1
    assert await workers.end("w5", w3) == [], "it could end beside a suspect"
    await w3.ack(handed_out)
    assert [entry.origin for entry in await workers.end("w5", w3)] == ["d"]


async def test_a_cancelled_suspect_ends_and_one_that_had_all_attempts_waits_for_no_worker(
    broker: Broker, raw: redis.Redis, namespace: str
) -> None:
    workers = Workers(broker, raw, namespace)
    w1, w2, w3 = [await workers.new(f"w{number}") for number in range(1, 4)]
    await w1.queue.enqueue([waiting_task(id_) for id_ in "ab"])
    assert len((await w1.dispatch(2, None)).entries) == 2
    assert len(await workers.end("w1", w2)) == 2
    assert await w1.queue.cancel("a") == ("cancelling", False)
    assert await workers.end("w2", w3) == []
    states = [look.record["state"] for id_ in "ab" if (look := await w3.queue.look(id_))]
    assert states == ["cancelled", "blocked"]
    assert await w1.queue.cancel("b") == ("cancelled", False)

    await w1.queue.enqueue([waiting_task("c", attempts="98")])
    assert len((await w1.dispatch(1, None)).entries) == 1
    [taken] = await workers.end("w1", w2)
    assert taken.attempts + taken.deliveries == 100, "the worker gives it up"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.sampled_from([(), (ONE,)])),
        st.tuples(st.sampled_from(["take", "end first", "kill"]), st.integers(0, 2), st.just(())),
    ),
    max_size=50,
)


# Two suspects of two priorities come back together; their worker may have one of them.
KILLED = [
    *(("add", priority, limits) for limits in ((), (ONE,)) for priority in (1, 2)),
    *[("take", 0, ())] * 2,
    ("kill", 0, ()),
    *[("take", 0, ())] * 2,
    ("kill", 1, ()),
    *[("take", worker, ()) for worker in (2, 2, 1, 0, 0)],
    ("kill", 0, ()),
]


@given(steps=STEPS)
@example(steps=KILLED)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_suspects_are_handed_out_as_by_the_pure_queue(
    broker: Broker, raw: redis.Redis, namespace: str, steps: list[tuple[str, int, tuple[Limit, ...]]]
) -> None:
    """Three workers take, end and are killed; the next one sweeps."""
    workers, model = Workers(broker, raw, namespace), FairQueue[str]([WEIGHTS[priority] for priority in PRIORITIES])
    commands = [await workers.new(f"w{number}") for number in range(3)]
    held: list[list[Entry]] = [[], [], []]
    known: dict[str, tuple[int, int, tuple[Limit, ...]]] = {}
    drain = [(step, number, ()) for _ in range(60) for number in range(3) for step in ("take", "end first")]
    for number, (step, value, limits) in enumerate([*steps, *drain]):
        if step == "add":
            id_ = f"{number:03}"
            known[id_] = (value, model.add(id_, value, limits=limits), limits)
            record = [{"name": limit.name, "at_once": limit.at_once} for limit in limits]
            await commands[0].queue.enqueue([waiting_task(id_, value, limits=record)])
        elif step == "take":
            may = not any(entry.deliveries > 1 for entry in held[value])
            if may and model.suspects_wait:
                model.let_suspects_come()
            [expected] = [model.take(may_take_suspect=may)]
            found = (await commands[value].dispatch(1, None)).entries
            assert [entry.origin for entry in found] == ([] if expected is None else [expected])
            held[value] += found
        elif step == "end first" and held[value]:
            ended = held[value].pop(0)
            await commands[value].ack([ended])
            model.free(known[ended.origin][2])
        elif step == "kill":
            heir = (value + 1) % 3
            if any(entry.deliveries > 2 for entry in held[heir]):
                continue  # it would take nothing over
            taken = await workers.end(f"w{value}", commands[heir])
            bulk = [entry.origin for entry in held[value] if entry.deliveries == 1]
            assert [entry.origin for entry in taken] == bulk
            for entry in held[value]:
                if entry.deliveries > 1:
                    model.set_aside(entry.origin, *known[entry.origin])
            held[heir], held[value] = held[heir] + taken, []
        if number >= len(steps) and not len(model) and not any(held):
            break
    assert len(model) == 0 and not any(held)


def new_app(log: Path) -> tuple[ev.App, ev.Task[[int], None]]:
    """A queue whose task kills its own worker at one number, and notes what it did."""
    app = ev.App("shop")
    app.queue("default", lease_s=LEASE_S, concurrency=50)

    @app.task(retry=ev.Retry(attempts=3, wait_s=0.0, jitter="none"))
    async def bill(number: int) -> None:
        await asyncio.sleep(0.02)  # all that came together have begun
        if number == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(0.02)
        with log.open("a", encoding="utf-8") as lines:
            lines.write(f"{number}\n")

    return app, bill


async def work(url: str, namespace: str, log: str) -> None:
    async with ev.connect(new_app(Path(log))[0], url, namespace=namespace) as bus, bus.running():
        await asyncio.Event().wait()


async def test_a_poison_task_takes_no_bystander_with_it(
    connect: Connect, url: str, namespace: str, tmp_path: Path
) -> None:
    log = tmp_path / "done"
    log.touch()
    app, bill = new_app(log)
    async with connect(app) as bus:
        await bus.tasks.enqueue_many([bill.call(number) for number in range(1, 21)])

        async def all_ended() -> bool:
            health = await bus.queue_health()
            return not (sum(health.waiting.values()) + health.running + health.delayed + health.blocked)

        with supervised(__name__, "work", url, namespace, str(log)):
            await eventually(all_ended, 60.0)
        dead = await bus.dead_letters("tasks.default", "workers").find()
    assert {int(line) for line in log.read_text(encoding="utf-8").split()} == set(range(1, 21)) - {POISON}
    assert [(json.loads(letter.event or b"")["data"]["number"], letter.reason) for letter in dead] == [
        (POISON, "poison")
    ]
