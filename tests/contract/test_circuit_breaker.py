"""A group with a circuit breaker pauses while what its handlers call is out of order. It uses up no attempt then."""

import asyncio
from typing import Any

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.keys import Keys
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import Connect, OrderPlaced, Record, orders

pytestmark = pytest.mark.one_server

RETRY = ev.Retry(attempts=4, wait_s=0.01, jitter="none")


class Shop:
    """An App whose handler fails as long as its database is `down`."""

    def __init__(self, error: Exception | None = None, concurrency: int = 2, **rule: Any) -> None:
        self.app, self.down, self.error = ev.App("shop"), True, error or OSError("the database is away")
        self.record = Record()
        breaker = ev.CircuitBreaker(**{"failures": 3, "open_s": 600.0, "window_s": 60.0} | rule)
        self.app.group("billing", concurrency=concurrency, prefetch=4, lease_s=0.5, circuit_breaker=breaker)

    def single(self) -> None:
        @self.app.subscribe(OrderPlaced, group="billing", retry=RETRY)
        async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
            await asyncio.sleep(0)
            if self.down:
                raise self.error

    def batches(self) -> None:
        @self.app.subscribe_batch(OrderPlaced, group="billing", retry=RETRY, size=5)
        async def bill(batch: ev.Batch[OrderPlaced]) -> None:
            for _, delivery in batch:
                if self.down:
                    batch.fail(delivery, self.error)

    def opened(self) -> bool:
        return self.record.count("circuit_opened") > 0


@pytest.mark.parametrize("batches", [False, True])
async def test_it_pauses_and_goes_on_without_losing_an_event(connect: Connect, batches: bool) -> None:
    shop = Shop(open_s=0.3)
    shop.batches() if batches else shop.single()
    async with connect(shop.app) as bus, bus.running(observe=shop.record):
        await bus.publish_many(orders(*range(20)))
        await eventually(lambda: shop.record.count("circuit_opened") >= 2)  # a probe has failed
        shop.down = False
        await eventually(lambda: shop.record.count("acked") == 20)
    assert shop.record.count("circuit_closed") == 1 and shop.record.count("dead") == 0
    # Three failures and what ran beside them opened it, then each opening had one probe: a batch, or an event.
    assert shop.record.count("failed") <= (15 if batches else 5) + 5 * shop.record.count("circuit_opened")


async def test_while_it_is_open_nothing_is_read_and_no_attempt_begins(
    connect: Connect, inspector: Inspector, raw: redis.Redis, namespace: str
) -> None:
    beside = ev.App("beside")
    beside.group("audit", lease_s=0.5)
    sweep, sweeps, audited = Keys(namespace).group("orders", "audit").sweep, set[object](), list[int]()

    @beside.subscribe(OrderPlaced, group="audit")
    async def audit(event: OrderPlaced, delivery: ev.Delivery) -> None:
        audited.append(event.number)

    async def swept_four_times() -> bool:
        sweeps.add(await raw.hget(sweep, "due"))
        return len(sweeps) > 4

    shop = Shop(concurrency=16)
    shop.single()
    async with (
        connect(shop.app) as bus,
        bus.running(observe=shop.record),
        connect(beside) as other,
        other.running(),
    ):
        await bus.publish_many(orders(1, 2, 3, 4))
        await eventually(shop.opened)
        await eventually(lambda: bus.health()[0].full)  # the read that was under way is over
        begun = shop.record.count("started")
        await bus.publish_many(orders(*range(5, 105)))
        await eventually(lambda: len(audited) == 104)  # a group beside it has handled them all
        sweeps.clear()
        await eventually(swept_four_times)  # and has swept twice a lease, so two leases have passed
        assert shop.record.count("started") == begun <= 4 and shop.record.count("lost") == 0
        assert (await bus.backlog("orders", "billing")).total == 104
        assert len(await inspector.pending()) <= 4  # retries that the read under way brought
        [health] = bus.health()
        assert health.circuit == "open" and health.full


async def test_who_leaves_while_it_is_open_gives_back_what_has_not_begun(
    connect: Connect, inspector: Inspector
) -> None:
    shop = Shop(failures=1)
    shop.single()
    async with connect(shop.app) as bus:
        await bus.publish_many(orders(*range(6)))
        async with bus.running(observe=shop.record):
            await eventually(lambda: shop.opened() and shop.record.count("retried") == 2)  # the others wait to begin
        assert await inspector.pending() == []
        assert (await bus.backlog("orders", "billing")).total == 6
        shop.down = False
        async with bus.running(observe=shop.record):
            await eventually(lambda: shop.record.count("acked") == 6)
    first = [one.delivery.attempt for one in shop.record.observations if one.kind == "acked"]
    assert sum(attempt > 1 for attempt in first) == shop.record.count("failed") <= 2


@pytest.mark.parametrize("error", [ev.Reject("never"), ev.Snooze(0.01)])
async def test_what_an_event_is_to_blame_for_does_not_open_it(connect: Connect, error: Exception) -> None:
    shop = Shop(error, failures=1)
    shop.single()
    async with connect(shop.app) as bus, bus.running(observe=shop.record):
        await bus.publish_many(orders(*range(10)))
        await eventually(lambda: shop.record.count("failed") >= 10)
    assert not shop.opened()


def test_what_is_no_breaker_is_refused() -> None:
    wrong: Any = {"failures": 3}
    with pytest.raises(ev.InvalidDeclaration, match="give a CircuitBreaker"):
        ev.App("shop").group("billing", circuit_breaker=wrong)


async def test_without_failures_it_changes_nothing(connect: Connect) -> None:
    shop = Shop(failures=1)
    shop.down = False
    shop.single()
    async with connect(shop.app) as bus, bus.running(observe=shop.record):
        await bus.publish_many(orders(*range(50)))
        await eventually(lambda: shop.record.count("acked") == 50)
        assert bus.health()[0].circuit == "closed"
    assert shop.record.kinds().count("started") == 50 and not shop.opened()
