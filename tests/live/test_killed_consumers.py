"""Consumers that are killed, stopped and started: everything is handled, at least once."""

import signal

import eventlib as ev
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.live.conftest import WORKS_S, ConsumerProcesses
from tests.shop import Connect, nothing_left, orders


async def test_a_consumer_killed_while_handlers_run_loses_no_event(
    connect: Connect, inspector: Inspector, url: str, namespace: str, processes: ConsumerProcesses
) -> None:
    async with connect(ev.App("shop")) as bus:
        victim = processes.start(url, namespace, work_s=0.2)
        await bus.publish_many(orders(*range(400)))
        await eventually(lambda: len(processes.noted("begin")) > len(processes.noted("done")) > 4, WORKS_S)
        victim.kill()
        victim.wait()
        done = set(processes.noted("done"))
        held = {row.id for row in await inspector.pending()}
        assert held and len(done) < 400  # it died with pending entries
        processes.start(url, namespace, work_s=0.0)
        await eventually(lambda: set(processes.noted("done")) == set(range(400)), WORKS_S)
        await eventually(lambda: nothing_left(bus))
        assert await bus.dead_letters("orders", "billing").find() == []


async def test_no_event_is_lost_while_one_of_two_consumers_is_killed_repeatedly(
    connect: Connect, url: str, namespace: str, processes: ConsumerProcesses
) -> None:
    async with connect(ev.App("shop")) as bus:
        processes.start(url, namespace, work_s=0.01)
        for round_ in range(4):
            victim = processes.start(url, namespace, work_s=0.01)
            before = len(processes.noted("done"))
            await bus.publish_many(orders(*range(round_ * 50, round_ * 50 + 50)))
            await eventually(lambda: len(processes.noted("done")) > before + 10, WORKS_S)  # noqa: B023 - awaited in the loop
            victim.kill()
            victim.wait()
        await eventually(lambda: set(processes.noted("done")) == set(range(200)))
        await eventually(lambda: nothing_left(bus))


async def test_a_consumer_stopped_by_sigterm_finishes_its_handlers_and_deletes_its_name(
    connect: Connect, inspector: Inspector, url: str, namespace: str, processes: ConsumerProcesses
) -> None:
    async with connect(ev.App("shop")) as bus:
        consumer = processes.start(url, namespace, work_s=0.2)
        await bus.publish_many(orders(*range(20)))
        await eventually(lambda: processes.noted("begin"), WORKS_S)
        consumer.terminate()
        await eventually(lambda: consumer.poll() is not None)
        assert consumer.returncode == 0
        assert set(processes.noted("begin")) == set(processes.noted("done")) | {3, 13} & set(processes.noted("begin"))
        assert await inspector.consumers() == set() and await inspector.pending() == []
        assert (await bus.backlog("orders", "billing")).total == 20 - len(set(processes.noted("done")))


async def test_trap_05_no_event_is_lost_when_a_consumer_is_stopped_for_longer_than_its_lease(
    connect: Connect, url: str, namespace: str, processes: ConsumerProcesses
) -> None:
    """Its entries are taken over meanwhile. When it wakes up, it goes on with new entries."""
    async with connect(ev.App("shop")) as bus:
        frozen = processes.start(url, namespace, work_s=0.1)
        await bus.publish_many(orders(*range(10)))
        await eventually(lambda: processes.noted("begin"), WORKS_S)
        frozen.send_signal(signal.SIGSTOP)
        rescuer = processes.start(url, namespace, work_s=0.0)
        await eventually(lambda: set(processes.noted("done")) == set(range(10)), WORKS_S)
        rescuer.terminate()
        await eventually(lambda: rescuer.poll() is not None)
        frozen.send_signal(signal.SIGCONT)
        await bus.publish_many(orders(*range(10, 20)))
        await eventually(lambda: set(processes.noted("done")) == set(range(20)))
        await eventually(lambda: nothing_left(bus))
        assert frozen.poll() is None
