"""A handler that blocks the event loop stops the renewal. The lease is lost, and the late consumer settles nothing."""

import asyncio
import logging
import threading
from typing import Self

import pytest
import redis

import eventlib as ev
from eventlib.broker.consuming import ConsumerCommands
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect, OrderPlaced, Record

pytestmark = pytest.mark.one_server  # what is tested is the client's own side

LEASE_S = 0.2


class OtherConsumer(threading.Thread):
    """A consumer in a thread of its own. Once it `may_take`, it takes the entry over when the lease has ended."""

    def __init__(self, url: str, inspector: Inspector) -> None:
        super().__init__()
        self._redis = redis.Redis.from_url(url)
        self._stream = inspector.keys.stream
        self.may_take = threading.Event()
        self.took = threading.Event()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.may_take.set()
        self.join()

    def run(self) -> None:
        with self._redis as raw:
            self.may_take.wait()
            while not (self.took.is_set() or self._over.wait(LEASE_S / 8.0)):
                if raw.xautoclaim(self._stream, "billing", "other", round(LEASE_S * 2000), justid=True):
                    self.took.set()


def blocking_app(other: OtherConsumer, outcome: BaseException | None) -> tuple[ev.App, list[ev.Delivery]]:
    """An App whose handler blocks its whole event loop until the entry was taken over, then ends with `outcome`."""
    app, seen = ev.App("shop"), list[ev.Delivery]()
    app.group("billing", lease_s=LEASE_S)

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        seen.append(delivery)
        other.may_take.set()  # not before: it could come late to a machine that stands still
        assert other.took.wait(30.0)  # blocking is the fault under test
        if outcome is not None:
            raise outcome

    return app, seen


@pytest.mark.usefixtures("no_sweeps")
@pytest.mark.parametrize("outcome", [None, ValueError("no"), ev.Reject("no"), ev.Snooze(0.0)])
async def test_trap_05_a_consumer_that_blocked_its_loop_for_a_lease_settles_nothing(
    connect: Connect, inspector: Inspector, url: str, outcome: BaseException | None, caplog: pytest.LogCaptureFixture
) -> None:
    other, record = OtherConsumer(url, inspector), Record()
    app, seen = blocking_app(other, outcome)
    await inspector.create()
    with other:
        async with connect(app) as bus, bus.running(consumer="slow", observe=record):
            await bus.publish(OrderPlaced(number=1))
            await eventually(lambda: record.count("lost"))
            assert [row.consumer for row in await inspector.pending()] == ["other"]
            assert (await bus.backlog("orders", "billing")) == ev.Backlog(0, pending=1, retrying=0, delayed=0, dead=0)
            assert seen[0].lost
            # The new owner's outcome counts.
            assert await ConsumerCommands(bus._broker, inspector.keys, "other").ack([seen[0].entry]) == set()
            assert (await bus.backlog("orders", "billing")).total == 0
    assert record.count("lost") == 1
    assert not {"acked", "retried", "dead"} & set(record.kinds())
    assert "to_thread" in "".join(r.message for r in caplog.records if r.levelno == logging.WARNING)


@pytest.mark.parametrize("outcome", [None, ValueError("no"), ev.Reject("no")])
async def test_trap_05_a_lost_delivery_does_not_settle_a_later_delivery_to_the_same_consumer(
    connect: Connect, inspector: Inspector, outcome: Exception | None
) -> None:
    """The consumer owns the entry again, but the handler that lost it must not settle it for the one that runs now."""
    app, record, started = ev.App("shop"), Record(), list[ev.Delivery]()
    releases = [asyncio.Event(), asyncio.Event()]
    app.group("billing", lease_s=1.0)  # a loaded machine may stand still for a shorter one, and deliver once more

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(wait_s=30.0, jitter="none"))
    async def bill(_: OrderPlaced, delivery: ev.Delivery) -> None:
        started.append(delivery)
        await releases[len(started) - 1].wait()
        if outcome is not None and delivery is started[0]:
            raise outcome

    ended = "handled" if outcome is None else "failed"
    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: started)
        await eventually(lambda: lose(inspector, started[0]))
        await eventually(lambda: len(started) == 2)  # the other consumer died; the entry came back
        releases[0].set()
        await eventually(lambda: record.count(ended) == 1)
        await bus.backlog("orders", "billing")  # a round trip in which it could have settled
        assert len(await inspector.pending()) == 1
        releases[1].set()
        await eventually(lambda: record.count("acked") == 1)
    assert record.kinds() == ["started", "lost", "started", ended, "handled", "acked"]


async def lose(inspector: Inspector, delivery: ev.Delivery) -> bool:
    """Have another consumer, which does not renew, hold the entry when the next renewal comes."""
    if not delivery.lost:
        await inspector.take_over(delivery.entry.id, "other")
    return delivery.lost
