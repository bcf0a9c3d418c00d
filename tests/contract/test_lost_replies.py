"""After a lost reply the sender does not know if its command ran. It repeats it, and no event is lost or doubled."""

import pytest

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.scripts import (
    ACK,
    RETRY,
    TASK_ACK,
    TASK_DEAD,
    TASK_ENQUEUE,
    TASK_RETRY,
    TO_DEAD_LETTERS,
    Script,
)
from eventlib.broker.streams import StreamCommands
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect, OrderPlaced, Record, new_app, nothing_left, orders

pytestmark = pytest.mark.one_server  # what is tested is the client's own side


async def test_trap_23_entries_of_a_read_whose_reply_was_lost_are_delivered(
    connect: Connect, inspector: Inspector, url: str
) -> None:
    app, handled = new_app(lease_s=0.3)
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus, bus.running():
        faulty.lose_reply_to(b"XREADGROUP")  # the next one; until then the present one answers
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: handled == [1])
        await bus.publish(OrderPlaced(number=2))
        await eventually(lambda: handled == [1, 2])
        assert faulty.lost == 1
        await eventually(lambda: nothing_left(bus))


async def test_after_a_lost_reply_to_an_acknowledgement_the_event_is_not_handled_again(
    connect: Connect, url: str
) -> None:
    app, handled = new_app(lease_s=0.3)
    record = Record()
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus:
        async with bus.running(observe=record, consumer="c1"):
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: record.count("acked") == 1)
            faulty.lose_reply_to(ACK.sha.encode())
            await bus.publish(OrderPlaced(number=2))
            await eventually(lambda: record.count("acked") == 2)
        assert faulty.lost == 1
        assert (await bus.backlog("orders", "billing")).total == 0
    assert handled == [1, 2]


@pytest.mark.parametrize(("script", "error"), [(RETRY, ValueError("no")), (TO_DEAD_LETTERS, ev.Reject("no"))])
async def test_trap_06_a_failure_that_is_settled_twice_counts_once(
    connect: Connect, broker: Broker, url: str, script: Script, error: Exception
) -> None:
    app, tries, record = ev.App("shop"), list[tuple[int, int]](), Record()

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        tries.append((event.number, delivery.attempt))
        if delivery.attempt == 1:
            raise error

    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))  # so that the server knows the scripts
        await eventually(lambda: record.count("acked") + record.count("dead") == 1)
        faulty.lose_reply_to(script.sha.encode())
        await bus.publish_many(orders(2))
        await eventually(lambda: faulty.lost == 1)
        # Past the connection that is cut.
        await eventually(lambda: settled(broker, 2 if script is TO_DEAD_LETTERS else 0))
    assert await settled(broker, 2 if script is TO_DEAD_LETTERS else 0)  # by the repeat as well
    assert record.count("lost") == 0 and record.count("dead" if script is TO_DEAD_LETTERS else "retried") == 2
    attempts = [1] if script is TO_DEAD_LETTERS else [1, 2]
    assert tries == [(number, attempt) for number in (1, 2) for attempt in attempts]


@pytest.mark.parametrize("script", [TASK_ENQUEUE, TASK_ACK, TASK_RETRY, TASK_DEAD], ids=lambda script: script.name)
async def test_a_task_is_enqueued_run_and_settled_once_in_spite_of_a_lost_reply(
    connect: Connect, url: str, script: Script
) -> None:
    app, ran = ev.App("shop"), list[tuple[int, int]]()

    @app.task(retry=ev.Retry(attempts=2, wait_s=0.0, jitter="none"), unique_by=["number"], limit=1)
    async def note(number: int) -> None:
        ran.append((number, ev.current_task().attempt))
        if number:
            raise ValueError("no")

    async with connect(app) as sound, fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus:
        # A worker that shares the enqueuer's connection may lose the task that it is handed out with the same cut. Its
        # lease would have to end first.
        async with (sound if script is TASK_ENQUEUE else bus).running():
            for number in (0, 1):  # so that the server knows the scripts
                await run(sound, await sound.enqueue(note)(number))
            faulty.lose_reply_to(script.sha.encode())
            for number in (0, 1):
                await run(sound, await bus.enqueue(note)(number))
        assert ran == [(0, 1), (1, 1), (1, 2)] * 2
        assert (await sound.queue_health()).slots == {}
        await eventually(lambda: faulty.lost == 1)


async def run(bus: ev.Bus, handle: ev.TaskHandle[None]) -> None:
    """Wait until the task has ended, as this bus sees it."""

    async def has_ended() -> bool:
        return (await bus.tasks.state("default", handle.id)).ended

    await eventually(has_ended)


async def settled(broker: Broker, dead: int) -> bool:
    return await StreamCommands(broker).backlog("orders", "billing") == ev.Backlog(0, 0, 0, 0, dead)
