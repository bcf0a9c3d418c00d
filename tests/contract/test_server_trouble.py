"""Whatever happens to the server during the work, no acknowledged event is lost, and the consumer goes on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.consume import calls
from eventlib.testing import PrivateServer, private_server
from eventlib.testing.waiting import eventually
from tests.shop import OrderPlaced, Record, nothing_left, orders

pytestmark = pytest.mark.every_server  # what a server says and allows is its own

LEASE_S = 0.4
SOON = ev.Retry(attempts=3, wait_s=0.01, jitter="none")
OFTEN = ev.Retry(attempts=1000, wait_s=0.01, jitter="none")  # a reply that is lost with its connection is an attempt


class Shop:
    """A program whose handlers wait until a gate opens. Events with numbers above 100 fail at the first attempt."""

    def __init__(self, url: str, retry: ev.Retry = SOON) -> None:
        self.app = ev.App("shop")
        self.app.group("billing", lease_s=LEASE_S)
        self.url = url
        self.gate = asyncio.Event()
        self.started: list[int] = []
        self.handled: list[int] = []
        self.record = Record()

        @self.app.subscribe(OrderPlaced, group="billing", retry=retry)
        async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
            self.started.append(event.number)
            await self.gate.wait()
            if event.number > 100 and delivery.attempt == 1:
                raise ValueError("not at first")
            self.handled.append(event.number)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ev.Bus]:
        async with ev.connect(self.app, self.url) as bus, bus.running(observe=self.record):
            yield bus

    async def settles(self, bus: ev.Bus, numbers: Sequence[int]) -> None:
        """Wait until all of them are handled and nothing is left."""
        self.gate.set()
        await eventually(lambda: set(numbers) <= set(self.handled))
        await eventually(lambda: nothing_left(bus))
        assert await bus.dead_letters("orders", "billing").find() == []


@pytest.fixture
def own(binary: Path) -> Iterator[PrivateServer]:
    with private_server("--appendfsync", "always", binary=binary, port=0) as server:
        yield server


@pytest.fixture
async def admin(own: PrivateServer) -> AsyncIterator[redis.Redis]:
    async with redis.Redis.from_url(own.url) as client:
        yield client


async def test_a_full_server_holds_up_retries_and_publishes_and_loses_no_event(
    own: PrivateServer, admin: redis.Redis
) -> None:
    shop = Shop(own.url)
    async with shop.open() as bus:
        await bus.publish_many(orders(1, 101, 102))
        await eventually(lambda: len(shop.started) == 3)
        await admin.config_set("maxmemory", 1)
        publishing = asyncio.create_task(bus.publish(OrderPlaced(number=2)))
        shop.gate.set()
        await eventually(lambda: shop.record.count("acked") == 1)  # to acknowledge needs no memory
        await eventually(lambda: refused(admin, "OOM", 4))  # the publish, and retries that are sent again
        assert shop.record.count("retried") == 0
        assert (await bus.backlog("orders", "billing")).pending == 2
        assert not publishing.done()
        await admin.config_set("maxmemory", 0)
        await publishing
        await shop.settles(bus, [1, 2, 101, 102])
    assert sorted(shop.handled) == [1, 2, 101, 102]


async def test_a_full_server_is_emptied_by_the_tasks_that_end(own: PrivateServer, admin: redis.Redis) -> None:
    app, begun, gate = ev.App("shop"), list[int](), asyncio.Event()
    app.queue("default", concurrency=2)

    @app.task()
    async def charge(order: int) -> int:
        begun.append(order)
        await gate.wait()
        return order

    async with ev.connect(app, own.url) as bus, bus.running():
        handles = await bus.tasks.enqueue_many([charge.call(order) for order in range(5)])
        await eventually(lambda: len(begun) == 2)
        await admin.config_set("maxmemory", 1)
        gate.set()
        assert await asyncio.gather(*(handle.result(30.0) for handle in handles)) == [0, 1, 2, 3, 4]
        await admin.config_set("maxmemory", 0)


async def refused(admin: redis.Redis, error: str, times: int) -> bool:
    stats = await admin.info("errorstats")
    return int(stats.get(f"errorstat_{error}", {}).get("count", 0)) >= times


async def test_a_full_server_does_not_block_the_shutdown(
    own: PrivateServer, admin: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Entries that cannot be given back because memory is full stay pending in the group."""
    shop = Shop(own.url)
    async with ev.connect(shop.app, own.url) as bus:
        async with bus.running(grace_s=0.1):
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: shop.started)
            await admin.config_set("maxmemory", 1)
        [told] = [record.message for record in caplog.records if "could not give back" in record.message]
        assert "maxmemory" in told
        await admin.config_set("maxmemory", 0)
        async with bus.running():
            await shop.settles(bus, [1])


async def test_consumers_wait_while_the_primary_is_a_replica(
    binary: Path, own: PrivateServer, admin: redis.Redis
) -> None:
    """A real failover and back: the replica has everything, takes over, and the old primary follows it."""
    shop, here = Shop(own.url), urlsplit(own.url)
    with private_server(binary=binary, port=0) as second:
        async with redis.Redis.from_url(second.url) as successor:
            there = urlsplit(second.url)
            for server in (admin, successor):
                await server.config_set("repl-diskless-sync-delay", 0)
            async with shop.open() as bus:
                await bus.publish_many(orders(1, 2, 101))
                await eventually(lambda: len(shop.started) == 3)
                await follow(successor, here.hostname, here.port)
                await eventually(lambda: in_step(successor, admin))
                await follow(successor, "NO", "ONE")
                await follow(admin, there.hostname, there.port)
                publishing = asyncio.create_task(bus.publish(OrderPlaced(number=3)))
                shop.gate.set()
                await eventually(lambda: refused(admin, "READONLY", 5))
                assert shop.record.count("acked") == 0 and not publishing.done()
                await eventually(lambda: in_step(admin, successor))
                await follow(admin, "NO", "ONE")
                await publishing
                await shop.settles(bus, [1, 2, 3, 101])


async def follow(server: redis.Redis, *whom: str | int | None) -> None:
    await server.execute_command("REPLICAOF", *map(str, whom))  # type: ignore[no-untyped-call]  # redis-py


async def in_step(replica: redis.Redis, primary: redis.Redis) -> bool:
    at_replica, at_primary = await replica.info("replication"), await primary.info("replication")
    return (
        at_replica.get("master_link_status") == "up"
        and at_replica["slave_repl_offset"] == at_primary["master_repl_offset"]
    )


async def test_the_outcome_of_handlers_is_settled_after_the_server_was_killed_and_restarted(
    own: PrivateServer,
) -> None:
    shop = Shop(own.url)
    async with shop.open() as bus:
        await bus.publish_many(orders(1, 2, 101))
        await eventually(lambda: len(shop.started) == 3)
        own.kill()
        shop.gate.set()
        await eventually(lambda: len(shop.handled) == 2)  # handled while there is no server
        own.start()
        await bus.publish(OrderPlaced(number=3))
        await shop.settles(bus, [1, 2, 3, 101])
    assert shop.record.count("acked") >= 4


async def test_an_outage_is_told_once_a_minute_and_a_consumer_however_many_events_are_in_hand(
    own: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    shop, numbers = Shop(own.url), range(101, 111)  # each of them fails, and is to be settled while the server is away
    async with shop.open() as bus:
        await bus.publish_many(orders(*numbers))
        await eventually(lambda: len(shop.started) == len(numbers))
        own.kill()
        shop.gate.set()
        await eventually(lambda: shop.record.count("failed") == len(numbers))
        own.start()
        await shop.settles(bus, numbers)
    assert caplog.text.count("orders/billing waits for the server") == 1


async def test_a_long_outage_is_told_again(
    own: PrivateServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "WARN_EVERY_S", 0.1)
    async with Shop(own.url).open():
        own.kill()
        await eventually(lambda: caplog.text.count("orders/billing waits for the server") >= 3)
        own.start()


async def test_a_flush_while_handlers_run_does_not_stop_consumers(own: PrivateServer, admin: redis.Redis) -> None:
    """The flushed events are gone and their handlers settle nothing. Later events are handled once."""
    shop = Shop(own.url)
    async with shop.open() as bus:
        await bus.publish_many(orders(1, 2, 101))
        await eventually(lambda: len(shop.started) == 3)
        await admin.flushall()
        shop.gate.set()
        await bus.publish_many(orders(3, 103))
        await shop.settles(bus, [1, 2, 3, 103])
    assert shop.handled.count(3) == shop.handled.count(103) == 1 and 101 not in shop.handled


async def test_scripts_that_the_server_forgot_are_sent_again(own: PrivateServer, admin: redis.Redis) -> None:
    shop = Shop(own.url)
    shop.gate.set()
    async with shop.open() as bus:
        for number in range(1, 10):
            await bus.publish_many(orders(number, 100 + number))
            await admin.script_flush()
            await eventually(lambda: {number, 100 + number} <= set(shop.handled))  # noqa: B023 - awaited in the loop
        await shop.settles(bus, [])
    assert len(shop.handled) == len(set(shop.handled)) == 18


async def test_connections_that_are_killed_repeatedly_are_opened_again(own: PrivateServer, admin: redis.Redis) -> None:
    shop = Shop(own.url, OFTEN)
    shop.gate.set()
    numbers = [*range(1, 40), *range(101, 111)]
    published = list[str]()
    async with shop.open() as bus, asyncio.TaskGroup() as tasks:

        async def publish_all() -> None:
            for number in numbers:
                published.append(await bus.publish(OrderPlaced(number=number)))

        publishing = tasks.create_task(publish_all())
        while not publishing.done():
            before = len(published)
            await admin.client_kill_filter(_type="normal", skipme=True)
            await eventually(lambda: len(published) > before or publishing.done())  # noqa: B023 - awaited in the loop
        await shop.settles(bus, numbers)
    entries = await admin.xlen("ev:{orders}:events")
    assert entries == len(numbers)  # none twice, although publishes were repeated


async def test_a_server_pause_longer_than_a_lease_loses_no_event(own: PrivateServer, admin: redis.Redis) -> None:
    shop = Shop(own.url)
    async with shop.open() as bus:
        await bus.publish_many(orders(1, 2, 101))
        await eventually(lambda: len(shop.started) == 3)
        await admin.client_pause(round(LEASE_S * 3000.0))
        shop.gate.set()
        await bus.publish(OrderPlaced(number=3))  # waits
        await shop.settles(bus, [1, 2, 3, 101])


async def test_a_server_process_stopped_for_longer_than_a_lease_loses_no_event(
    own: PrivateServer, binary: Path
) -> None:
    """Its clock goes on while it is stopped. All leases are over when it wakes, and any consumer may sweep first."""
    one, two = Shop(own.url), Shop(own.url)
    async with one.open() as bus, two.open():
        await bus.publish_many(orders(*range(20), *range(101, 111)))
        await eventually(lambda: len(one.started) + len(two.started) >= 30)
        own.pause()
        try:
            await asyncio.sleep(LEASE_S * 2.5)  # the fault itself: longer than a lease
        finally:
            own.resume()
        for shop in (one, two):
            shop.gate.set()
        await eventually(lambda: {*range(20), *range(101, 111)} <= {*one.handled, *two.handled})
        await eventually(lambda: nothing_left(bus))
        assert await bus.dead_letters("orders", "billing").find() == []


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
async def test_trap_26_a_jump_of_a_consumers_clock_changes_no_lease_and_no_wait(
    own: PrivateServer, jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, right = Shop(own.url), time.time
    async with shop.open() as bus:
        await bus.publish_many(orders(1, 101))
        await eventually(lambda: len(shop.started) == 2)
        monkeypatch.setattr(time, "time", jumped(right, jump_s))
        shop.gate.set()
        await bus.publish(OrderPlaced(number=2))
        await shop.settles(bus, [1, 2, 101])
    assert sorted(shop.handled) == [1, 2, 101] and shop.record.count("lost") == 0


def jumped(right: Callable[[], float], jump_s: float) -> Callable[[], float]:
    return lambda: right() + jump_s


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "noeviction"])
async def test_trap_25_a_server_that_evicts_when_full_is_named_at_connect(
    own: PrivateServer, admin: redis.Redis, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is refused or warned about, as the setting says."""
    await admin.config_set("maxmemory-policy", policy)
    told = ""
    try:
        async with ev.connect(ev.App("shop"), own.url):
            pass
    except ev.BrokerError as error:
        told = str(error)
    assert (policy in told + caplog.text) == (policy != "noeviction")


async def test_a_server_that_restarts_again_and_again_is_told_in_a_few_lines_and_loses_no_event(
    own: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    shop, published = Shop(own.url, OFTEN), list[int]()
    shop.gate.set()

    async def publish(bus: ev.Bus) -> None:
        for number in range(100_000):
            await bus.publish(OrderPlaced(number=number))
            published.append(number)
            await asyncio.sleep(0.002)

    async with shop.open() as bus:
        load = asyncio.create_task(publish(bus))
        for _ in range(4):
            before = len(shop.handled)
            await eventually(lambda before=before: len(shop.handled) > before + 10)  # type: ignore[misc]
            own.kill()
            own.start()
        load.cancel()
        await asyncio.wait({load})
        await shop.settles(bus, published)
    assert [record for record in caplog.records if record.exc_info] == []
    assert caplog.text.count("orders/billing waits for the server") == 1  # in a minute
    assert caplog.text.count("publishing to orders waits for the server") <= 4  # in an outage
    of_the_machine = caplog.text.count("the event loop stood still")
    assert len(caplog.records) - of_the_machine < 15
