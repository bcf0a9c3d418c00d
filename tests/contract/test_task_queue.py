"""The order in which a queue hands out tasks is the one that the pure functions decide, and its bounds hold."""

import json
from itertools import count, pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from eventlib.broker.connections import Broker
from eventlib.broker.tasks import QueueCommands, TaskCommands
from eventlib.queueing import PRIORITIES, WEIGHTS, FairQueue, Limit, passed_by_max, pattern_of
from eventlib.records import EnqueuedTask, Entry

PATTERN = pattern_of([WEIGHTS[priority] for priority in PRIORITIES])
names = (f"q{number}" for number in count())
KEEP_MS = 3_600_000  # longer than a test takes, wherever a machine stands still: what has ended is looked at


def waiting_task(id_: str, priority: int = 2, tenant: str = "", **record: object) -> EnqueuedTask:
    fields = {"name": "t", "priority": priority + 1, "tenant": tenant, "keep": KEEP_MS, **record}
    return EnqueuedTask(id_, b"{}", json.dumps(fields).encode(), "", "", "")


async def worker(
    broker: Broker, queue: str, pattern: tuple[int, ...] = PATTERN, weights: dict[str, float] | None = None
) -> TaskCommands:
    commands = TaskCommands(broker, queue, "w1", pattern, weights or {})
    await commands.ensure_group()
    return commands


async def dispatched(commands: TaskCommands, number: int = 1) -> list[str]:
    return [entry.origin for entry in (await commands.dispatch(number, None)).entries]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.sampled_from(["", "a", "b", "c"])),
        st.tuples(st.just("take"), st.integers(1, 5), st.just("")),
    ),
    max_size=60,
)


@given(
    steps=STEPS,
    weights=st.tuples(*[st.integers(1, 6)] * 4),
    tenants=st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from([0.5, 2.0, 3.0])),
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_tasks_are_handed_out_in_the_order_of_the_pure_queue(
    broker: Broker,
    steps: list[tuple[str, int, str]],
    weights: tuple[int, ...],
    tenants: dict[str, float],
) -> None:
    queue, model = next(names), FairQueue[str](weights, tenants)
    commands = await worker(broker, queue, pattern_of(weights), tenants)
    for number, (step, value, tenant) in enumerate([*steps, ("take", 100, "")]):
        if step == "add":
            id_ = f"{number:03}"
            model.add(id_, value, tenant)
            await commands.queue.enqueue([waiting_task(id_, value, tenant)])
        else:
            expected = [each for _ in range(value) if (each := model.take())]
            assert await dispatched(commands, value) == expected


ONE, OTHER = Limit("one", at_once=1), Limit("other", at_once=2)
LIMITED = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 2), st.sampled_from(["", "a"]), st.sampled_from([(), (ONE,), (OTHER,), (ONE, OTHER)])),
        st.sampled_from(["take", "end first", "end last"]),
    ),
    max_size=60,
)


# The fourth task is let go by the end of the first, and stopped by its other limit: then the fifth has that slot.
CHAIN = [
    *((2, "", limits) for limits in ((ONE,), (OTHER,), (OTHER,), (ONE, OTHER), (ONE,))),
    *["take"] * 4,
    "end first",
]


@given(steps=LIMITED)
@example(steps=CHAIN)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_limits_hold_tasks_back_as_the_pure_queue_does(
    broker: Broker, steps: list[tuple[int, str, tuple[Limit, ...]] | str]
) -> None:
    model, commands = FairQueue[str]([WEIGHTS[priority] for priority in PRIORITIES]), await worker(broker, next(names))
    limits_of: dict[str, tuple[Limit, ...]] = {}
    running: list[Entry] = []
    for number, step in enumerate([*steps, *["take", "end first"] * 30]):
        if isinstance(step, tuple):
            id_, (priority, tenant, limits) = f"{number:03}", step
            limits_of[id_] = limits
            model.add(id_, priority, tenant, limits=limits)
            record = [{"name": limit.name, "at_once": limit.at_once} for limit in limits]
            await commands.queue.enqueue([waiting_task(id_, priority, tenant, limits=record)])
        elif step == "take":
            found = (await commands.dispatch(1, None)).entries
            assert [entry.origin for entry in found] == [each for each in [model.take()] if each]
            running += found
        elif running:
            ended = running.pop(0 if step == "end first" else -1)
            await commands.ack([ended])
            model.free(limits_of[ended.origin])
    assert len(model) == 0


@pytest.mark.parametrize("priority", range(4))
async def test_trap_28_a_waiting_task_is_passed_by_no_more_than_the_bound(broker: Broker, priority: int) -> None:
    """Whatever is in the worker's hands was handed out in turn, so asking for many at once changes nothing."""
    commands = await worker(broker, next(names))
    for first, at_once in ((0, 1), (1000, 7)):
        await commands.queue.enqueue([waiting_task(f"{first + n}", n % 4) for n in range(240)])
        await commands.queue.enqueue([waiting_task(f"the-one-{first}", priority)])
        order: list[str] = []
        while len(order) < 241:
            order += await dispatched(commands, at_once)
        own = [at for at, id_ in enumerate(order) if id_[:3] == "the" or int(id_) % 4 == priority]
        others = [after - before - 1 for before, after in pairwise(own)]
        busy = others[:4]  # while all priorities wait
        assert max(busy) <= passed_by_max(PATTERN, priority)
    assert [passed_by_max(PATTERN, each) for each in range(4)] == [1, 3, 7, 14]


async def test_trap_31_a_single_task_of_a_tenant_does_not_wait_for_all_of_another(broker: Broker) -> None:
    commands = await worker(broker, next(names))
    for tenant in "abc":
        await commands.queue.enqueue([waiting_task(f"{tenant}{n}", 2, tenant) for n in range(500)])
    await dispatched(commands, 100)
    await commands.queue.enqueue([waiting_task("single", 2, "d")])
    assert "single" in await dispatched(commands, 4)  # as many as there are tenants with tasks


async def test_a_tenant_that_comes_again_and_again_gets_no_more_than_its_share(broker: Broker) -> None:
    commands = await worker(broker, next(names), weights={"often": 2.0})
    await commands.queue.enqueue([waiting_task(f"a{n:03}", 2, "a") for n in range(90)])
    for tenant, shares in (("quick", 1), ("often", 2)):
        own = 0
        for number in range(30):
            await commands.queue.enqueue([waiting_task(f"{tenant}{number}", 2, tenant)])
            while not (found := await dispatched(commands))[0].startswith(tenant):
                own += 1
        assert own >= 29 // shares, f"{tenant} waits for the others after each task of its own"
        assert found


async def test_large_queues_of_many_tenants_leave_nothing_behind(broker: Broker) -> None:
    commands = await worker(broker, next(names))
    await commands.queue.enqueue([waiting_task(f"{n}", n % 4, f"t{n}") for n in range(400)])
    order: list[str] = []
    while found := await dispatched(commands, 50):
        order += found
    assert sorted(map(int, order)) == list(range(400))
    keys = commands.queue.keys
    left = [key for key in keys if "waiting" in key or "tenants" in key or "woken" in key]
    assert not await broker.ask("EXISTS", *left)


async def test_the_queue_asks_no_more_of_the_server_than_the_worker_has_room_for(broker: Broker) -> None:
    commands = await worker(broker, next(names))
    await commands.queue.enqueue([waiting_task(f"{n}", 3) for n in range(50)])
    assert await dispatched(commands, 2) == ["0", "1"]
    await commands.queue.enqueue([waiting_task("urgent", 0)])
    assert await dispatched(commands, 1) == ["urgent"]


def test_queue_commands_name_their_keys_in_the_order_of_the_scripts(broker: Broker) -> None:
    keys = QueueCommands(broker, "x").keys
    assert len(keys) == 32
    assert all("{tasks.x}" in key for key in keys)
