"""Consumers that are killed, stopped and started: everything is handled, at least once."""

import signal

import eventlib as ev
from tests.ledger import Ledger
from tests.live.conftest import Office
from tests.shop import Connect, orders
from tests.waiting import eventually


async def nothing_left(bus: ev.Bus) -> bool:
    return (await bus.backlog("orders", "billing")).total == 0


async def test_a_consumer_killed_in_the_middle_of_handlers_loses_nothing(
    connect: Connect, ledger: Ledger, url: str, namespace: str, office: Office
) -> None:
    async with connect(ev.App("shop")) as bus:
        victim = office.hire(url, namespace, work_s=0.2)
        await bus.publish_many(orders(*range(400)))
        await eventually(lambda: len(office.noted("begin")) > len(office.noted("done")) > 4)
        victim.kill()
        victim.wait()
        done = set(office.noted("done"))
        held = {row.id for row in await ledger.pending()}
        assert held and len(done) < 400  # it did die with work in hand
        office.hire(url, namespace, work_s=0.0)
        await eventually(lambda: set(office.noted("done")) == set(range(400)))
        await eventually(lambda: nothing_left(bus))
        assert await bus.dead_letters("orders", "billing").find() == []


async def test_one_of_two_consumers_killed_again_and_again(
    connect: Connect, url: str, namespace: str, office: Office
) -> None:
    async with connect(ev.App("shop")) as bus:
        office.hire(url, namespace, work_s=0.01)
        for round_ in range(4):
            victim = office.hire(url, namespace, work_s=0.01)
            before = len(office.noted("done"))
            await bus.publish_many(orders(*range(round_ * 50, round_ * 50 + 50)))
            await eventually(lambda: len(office.noted("done")) > before + 10)  # noqa: B023 - awaited in the loop
            victim.kill()
            victim.wait()
        await eventually(lambda: set(office.noted("done")) == set(range(200)))
        await eventually(lambda: nothing_left(bus))


async def test_a_consumer_told_to_stop_finishes_and_leaves_no_trace(
    connect: Connect, ledger: Ledger, url: str, namespace: str, office: Office
) -> None:
    async with connect(ev.App("shop")) as bus:
        clerk = office.hire(url, namespace, work_s=0.2)
        await bus.publish_many(orders(*range(20)))
        await eventually(lambda: office.noted("begin"))
        clerk.terminate()
        await eventually(lambda: clerk.poll() is not None)
        assert clerk.returncode == 0
        assert set(office.noted("begin")) == set(office.noted("done")) | {3, 13} & set(office.noted("begin"))
        assert await ledger.consumers() == set() and await ledger.pending() == []
        assert (await bus.backlog("orders", "billing")).total == 20 - len(set(office.noted("done")))


async def test_trap_05_a_consumer_frozen_longer_than_its_lease_does_no_harm(
    connect: Connect, url: str, namespace: str, office: Office
) -> None:
    """Its work is taken over meanwhile; when it wakes up it goes on with what is left to do."""
    async with connect(ev.App("shop")) as bus:
        frozen = office.hire(url, namespace, work_s=0.1)
        await bus.publish_many(orders(*range(10)))
        await eventually(lambda: office.noted("begin"))
        frozen.send_signal(signal.SIGSTOP)
        rescuer = office.hire(url, namespace, work_s=0.0)
        await eventually(lambda: set(office.noted("done")) == set(range(10)))
        rescuer.terminate()
        await eventually(lambda: rescuer.poll() is not None)
        frozen.send_signal(signal.SIGCONT)
        await bus.publish_many(orders(*range(10, 20)))
        await eventually(lambda: set(office.noted("done")) == set(range(20)))
        await eventually(lambda: nothing_left(bus))
        assert frozen.poll() is None
