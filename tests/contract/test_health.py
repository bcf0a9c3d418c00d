"""Health is the age of the last successful read: a process that runs but gets no answer to its reads is unhealthy."""

import asyncio
import itertools
import random
import time
from pathlib import Path

import pytest

import eventlib as ev
from eventlib.broker import connections
from eventlib.consume import intake
from eventlib.policy import RECONNECT
from eventlib.testing import private_server
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.waiting import eventually
from tests.shop import Connect, OrderPlaced, new_app

pytestmark = pytest.mark.one_server  # what is tested is the client's own side

BLOCK_S = 0.1
LEASE_S = 0.3
WITHIN_S = 1.0  # ten reads on a quiet stream; a busy machine has time enough for one


@pytest.fixture(autouse=True)
def _short_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BLOCK_S", BLOCK_S)


def health(bus: ev.Bus) -> ev.ConsumerHealth:
    [seen] = bus.health()
    return seen


def waiting_app(**group: float) -> tuple[ev.App, asyncio.Event]:
    """An App whose handlers wait for the event."""
    app, release = ev.App("shop"), asyncio.Event()
    app.group("billing", **group)  # type: ignore[arg-type]

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(_: OrderPlaced, __: ev.Delivery) -> None:
        await release.wait()

    return app, release


async def test_trap_24_a_consumer_of_a_quiet_stream_is_healthy(connect: Connect) -> None:
    app, release = waiting_app(lease_s=LEASE_S)
    async with connect(app) as bus:
        assert bus.health() == []
        async with bus.running(consumer="c1"):
            ages = list[float]()

            def fresh() -> bool:
                ages.append(health(bus).read_age_s or 0.0)
                return sum(later < earlier for earlier, later in itertools.pairwise(ages)) >= 3

            await eventually(fresh)  # its age begins anew with each read
            assert health(bus).renew_age_s is None  # there was nothing to renew
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: health(bus).renew_age_s is not None)
            seen = health(bus)
            assert (seen.stream, seen.group, seen.consumer) == ("orders", "billing", "c1")
            assert seen.running and seen.connected and seen.hears() and not seen.full
            release.set()
        assert bus.health() == []


async def test_trap_24_a_consumer_with_free_capacity_is_not_reported_as_full(connect: Connect) -> None:
    """Also between the end of one read and the start of the next, in any turn of the event loop."""
    app, _ = new_app()
    async with connect(app) as bus, bus.running():
        answered = 0
        last_s = health(bus).read_age_s
        while answered < 3:
            await asyncio.sleep(0)
            seen = health(bus)
            assert not seen.full
            answered += seen.read_age_s is not None and (last_s is None or seen.read_age_s < last_s)
            last_s = seen.read_age_s


async def test_trap_24_a_consumer_that_does_not_read_because_it_is_full_is_healthy(connect: Connect) -> None:
    app, release = waiting_app(concurrency=1)
    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: health(bus).full)
        await eventually(lambda: (health(bus).read_age_s or 0.0) > 5 * BLOCK_S)
        assert health(bus).silent_s == 0.0 and health(bus).hears(BLOCK_S)
        release.set()
        await eventually(lambda: not health(bus).full)


@pytest.mark.parametrize("fault", ["refusing", "swallowing"])
async def test_trap_24_a_consumer_without_answers_is_unhealthy_and_recovers(
    connect: Connect, url: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two faults: a cut connection whose next one is refused, and a network that drops everything without an error."""
    app, handled = new_app(lease_s=LEASE_S)
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus, bus.running():
        for number in range(2):
            await bus.publish(OrderPlaced(number=number))
            await eventually(lambda: number in handled)  # noqa: B023 - awaited in the loop
            await eventually(lambda: health(bus).hears(WITHIN_S) and health(bus).connected)
            with monkeypatch.context() as impatient:  # not before, nor after: a busy machine connects slowly
                impatient.setattr(connections, "REPLY_TIMEOUT_S", 0.5)
                await reads_again(bus)
                setattr(faulty, fault, True)
                if fault == "refusing":
                    faulty.cut()
                await eventually(lambda: not health(bus).hears(WITHIN_S))
                await eventually(lambda: not health(bus).connected)
                unhealthy = health(bus)
                assert (
                    unhealthy.running
                    and unhealthy.problem is not None
                    and unhealthy.problem.startswith("BrokerUnavailable")
                )
                assert unhealthy.read_age_s is not None and unhealthy.read_age_s >= WITHIN_S
                assert unhealthy.silent_s >= unhealthy.read_age_s - 0.1  # since the last answer, not since the last try
                # Time for five renewals: with nothing held, they are no answer.
                until, answered = time.monotonic() + 5 * LEASE_S / 3.0, False
                while time.monotonic() < until:
                    answered |= health(bus).connected
                    await asyncio.sleep(0.005)
            setattr(faulty, fault, False)
            assert not answered
        await bus.publish(OrderPlaced(number=2))
        await eventually(lambda: 2 in handled)
        await eventually(lambda: health(bus).hears(WITHIN_S) and health(bus).connected)
    assert handled == [0, 1, 2]


async def reads_again(bus: ev.Bus) -> None:
    """Wait for the end of a read. Reads that are sent from now on have the shorter timeout."""
    since = time.monotonic()
    await eventually(lambda: time.monotonic() - since > (health(bus).read_age_s or 0.0))


async def test_trap_24_a_consumer_gets_events_from_a_server_that_was_killed_and_restarted(binary: Path) -> None:
    app, handled = new_app()
    strict = ("--appendfsync", "always")
    with private_server(*strict, binary=binary) as server:
        async with ev.connect(app, server.url) as bus, bus.running():
            for number in range(3):
                await bus.publish(OrderPlaced(number=number))
                await eventually(lambda: number in handled)  # noqa: B023 - awaited in the loop
                server.kill()
                await eventually(lambda: not health(bus).connected)
                server.start()
                await eventually(lambda: health(bus).connected and health(bus).hears(WITHIN_S))
    assert sorted(set(handled)) == [0, 1, 2]


async def test_trap_24_a_consumer_that_never_reached_the_server_is_unhealthy(
    connect: Connect, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = new_app()
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus:
        faulty.refusing = True
        faulty.cut()
        async with bus.running():
            await eventually(lambda: not health(bus).connected)
            await eventually(lambda: not health(bus).hears(BLOCK_S))
            assert health(bus).read_age_s is None and not health(bus).full
            faulty.refusing = False
            await eventually(lambda: health(bus).connected and health(bus).hears(WITHIN_S))


def test_trap_24_consumers_reconnect_at_different_times() -> None:
    """Otherwise a thousand consumers would connect to a restarted server in the same moment."""
    for failures in (1, 3, 10):
        delays = {RECONNECT.delay_s(failures, random.Random(seed)) for seed in range(1000)}
        assert len(delays) > 900 and max(delays) >= 1.8 * min(delays) > 0.0
