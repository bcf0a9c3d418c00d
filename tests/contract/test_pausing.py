"""A paused group reads nothing, also when consumers start or end. Nothing is lost, and no attempt is used up."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis.asyncio as redis
from pydantic import BaseModel

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.keys import Keys
from eventlib.broker.streams import StreamCommands
from eventlib.records import TrimmedGroup
from eventlib.testing import private_server
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.probing import Reply, get, value
from tests.shop import AT_ONCE, Connect, OrderPlaced, Record, StockCounted, nothing_left, orders

pytestmark = pytest.mark.one_server

LEASE_S = 0.5


class Till:
    """An App whose handlers wait until they may end. It notes each attempt."""

    def __init__(self, *, prefetch: int = 0, ordered: bool = False) -> None:
        self.app, self.attempts, self.may_end = ev.App("shop"), list[tuple[int, int]](), asyncio.Event()
        self.app.group(
            "billing", concurrency=2, prefetch=prefetch, lease_s=LEASE_S, ordered_by="number" if ordered else None
        )

        @self.app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
        async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
            self.attempts.append((event.number, delivery.attempt))
            await self.may_end.wait()


async def obeyed(bus: ev.Bus, *, paused: bool = True) -> bool:
    """Whether the consumers have heard, and no read is under way that could still bring something."""
    return all(each.paused is paused and (not paused or each.silent_s == 0.0) for each in bus.health())


def renewed_at(bus: ev.Bus) -> float:
    """When leases were renewed last, by the monotonic clock; minus infinity if they never were."""
    age_s = bus.health()[0].renew_age_s
    return -math.inf if age_s is None else time.monotonic() - age_s


@pytest.mark.parametrize("ordered", [False, True])
async def test_what_is_in_hand_is_finished_and_the_rest_waits(
    connect: Connect, inspector: Inspector, ordered: bool
) -> None:
    till, record = Till(prefetch=3, ordered=ordered), Record()
    async with connect(till.app) as bus, bus.running(observe=record):
        await bus.publish_many(orders(*range(5)))
        await eventually(lambda: len(till.attempts) == 2)
        [state] = await bus.pause("billing", reason="the bank is down", by="ann")
        assert state.paused and (state.stream, state.group) == ("orders", "billing")
        await eventually(lambda: obeyed(bus))
        await bus.publish_many(orders(*range(5, 30)))
        paused_at = time.monotonic()
        await eventually(lambda: renewed_at(bus) > paused_at + LEASE_S)  # leases go on
        till.may_end.set()
        await eventually(lambda: record.count("acked") == 5)
        assert await bus.backlog("orders", "billing") == ev.Backlog(25, 0, 0, 0, 0)
        assert (await bus.resume("billing", by="bob"))[0].paused is False
        await eventually(lambda: record.count("acked") == 30)
    assert sorted(till.attempts) == [(number, 1) for number in range(30)]  # each once, and no attempt was used up


async def test_consumers_that_start_while_it_is_paused_read_nothing_and_go_on_with_all(connect: Connect) -> None:
    till, record = Till(), Record()
    till.may_end.set()
    async with connect(till.app) as bus:
        await bus.pause("billing")  # before there is any consumer: the App declares the group
        await bus.publish_many(orders(1, 2))
        for _ in range(2):
            async with bus.running(observe=record):
                await eventually(lambda: obeyed(bus))
                await eventually(lambda: all((each.in_hand, each.full) == (0, False) for each in bus.health()))
        assert record.observations == []
        async with bus.running(observe=record):
            await bus.resume("billing")
            await eventually(lambda: record.count("acked") == 2)
            await eventually(lambda: obeyed(bus, paused=False))


async def test_health_stays_good_and_says_paused(connect: Connect) -> None:
    till = Till()
    till.may_end.set()
    async with connect(till.app) as bus, bus.running():
        url = bus.serve_health(0).url
        paused = {"stream": "orders", "group": "billing"}
        assert value((await get(url, "/metrics")).text, "eventlib_consumer_paused", **paused) == 0.0
        await bus.pause("billing")
        await bus.publish_many(orders(1))
        await eventually(lambda: obeyed(bus))
        await asyncio.sleep(0.01)  # a full consumer would be full for as long
        [consumer] = bus.health()
        assert (consumer.full, consumer.full_s, consumer.silent_s) == (False, 0.0, 0.0)
        healthz = await eventually(lambda: _says_paused(url))  # what is noted is up to half a second old
        assert healthz is not None
        assert (healthz.status, (await get(url, "/readyz")).status, (await get(url, "/livez")).status) == (200,) * 3
        assert value((await get(url, "/metrics")).text, "eventlib_consumer_paused", **paused) == 1.0
        await bus.resume("billing")
        await eventually(lambda: nothing_left(bus))
        assert (await get(url, "/readyz")).status == 200


async def _says_paused(url: str) -> Reply | None:
    reply = await get(url, "/healthz")
    return reply if '"paused": true' in reply.text else None


async def test_who_did_it_and_why_is_kept_and_a_repeat_changes_nothing(connect: Connect) -> None:
    async with connect(Till().app) as bus:
        assert (await bus.pauses("billing"))[0] == ev.GroupPause("orders", "billing", False)
        await bus.resume("billing")
        await bus.pause("billing", by="ann", reason='the "bank" is down: ü')
        await bus.pause("billing", by="bob", reason="me too")
        await bus.resume("billing")
        [state] = await bus.pauses("billing")
        resumed, paused = state.records
        assert (paused.act, paused.by, paused.reason) == ("pause", "ann", 'the "bank" is down: ü')
        assert (resumed.act, resumed.reason) == ("resume", "") and "@" in resumed.by
        assert 0.0 <= resumed.at_s - paused.at_s < 60.0 and not state.paused


async def test_a_wrong_name_is_refused(connect: Connect) -> None:
    app = Till().app
    wrong: list[tuple[dict[str, Any], type[ev.EventlibError], str]] = [
        ({}, ev.InvalidArgument, "give a group"),
        ({"group": "billing", "queue": "mail"}, ev.InvalidArgument, "give a group"),
        ({"queue": "mail", "stream": "orders"}, ev.InvalidArgument, "give a group"),
        ({"group": "bilings"}, ev.InvalidArgument, "give its stream="),
        ({"group": "bilings", "stream": "orders"}, ev.MissingGroup, "bilings"),
        ({"queue": "mall"}, ev.MissingQueue, "mall"),
        ({"saga": "oder"}, ev.MissingGroup, "saga.oder"),
        ({"group": "billing", "reason": "x" * 501}, ev.InvalidArgument, "at most 500"),
        ({"group": "billing", "reason": None}, ev.InvalidArgument, "reason is None; give a text"),
    ]
    async with connect(app) as bus:
        for arguments, error, part in wrong:
            with pytest.raises(error, match=part):
                await bus.pause(**arguments)


class Placed(BaseModel):
    number: int


async def test_queues_sagas_and_groups_on_two_streams_are_paused_alike(connect: Connect) -> None:
    app, done = ev.App("shop"), list[str]()

    @app.task(queue="mail")
    async def send(number: int) -> None:
        done.append(f"task {number}")

    async def reserve(saga: ev.SagaContext[Placed]) -> None:
        done.append(f"saga {saga.input.number}")

    order = app.saga("order", ev.Step(reserve, undo=ev.NOTHING_TO_UNDO), input=Placed)

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        done.append(f"OrderPlaced {event.number}")

    @app.subscribe(StockCounted, group="billing")
    async def count(event: StockCounted, _: ev.Delivery) -> None:
        done.append(f"StockCounted {event.number}")

    async with connect(app) as bus, bus.running():
        assert [(await bus.pause(queue="mail"))[0].stream, (await bus.pause(saga="order"))[0].stream] == [
            "tasks.mail",
            "saga.order",
        ]
        assert [each.stream for each in await bus.pause("billing")] == ["orders", "stock"]
        await eventually(lambda: obeyed(bus))
        await bus.enqueue(send)(1)
        await bus.start(order, Placed(number=1))
        await bus.publish_many([OrderPlaced(number=1), StockCounted(number=1)])
        await eventually(lambda: looked_again(bus))
        assert done == []
        await bus.resume("billing", stream="stock")
        await eventually(lambda: done == ["StockCounted 1"])
        await bus.resume(queue="mail")
        await eventually(lambda: done[1:] == ["task 1"])
        await bus.resume(saga="order")
        await eventually(lambda: done[2:] == ["saga 1"])
        assert len(await bus.resume("billing")) == 2
        await eventually(lambda: done[3:] == ["OrderPlaced 1"])


async def looked_again(bus: ev.Bus) -> bool:
    """Whether each consumer still obeys, and holds nothing, though there is something to do."""
    health = bus.health()
    return len(health) == 4 and await obeyed(bus) and not any(each.in_hand for each in health)


async def test_a_restart_of_redis_ends_no_pause_and_a_full_one_can_be_resumed() -> None:
    till, record = Till(), Record()
    till.may_end.set()
    with private_server() as server:
        async with ev.connect(till.app, server.url) as bus, bus.running(observe=record):
            await bus.pause("billing")
            await eventually(lambda: obeyed(bus))
            await bus.publish_many(orders(1, 2, 3))
            server.kill()
            server.start()
            await eventually(lambda: paused_on_the_server(bus))
            await eventually(lambda: obeyed(bus))
            assert record.count("started") == 0
            server.set_full(True)
            await bus.resume("billing")
            await eventually(lambda: record.count("handled") == 3)
            server.set_full(False)
            await eventually(lambda: nothing_left(bus))
    assert sorted(till.attempts) == [(1, 1), (2, 1), (3, 1)]


async def paused_on_the_server(bus: ev.Bus) -> bool:
    return (await bus.pauses("billing"))[0].paused


async def test_a_paused_group_does_not_count_as_dead_so_retention_keeps_what_it_has_not_read(
    connect: Connect, broker: Broker, inspector: Inspector
) -> None:
    """However long it is paused. Once it is resumed, it counts as any other."""
    retention, streams = ev.Retention(keep_s=0.0, dead_after_s=0.05), StreamCommands(broker)
    till = Till()
    till.may_end.set()

    async def look() -> TrimmedGroup:
        found = await streams.trim("orders", retention, 0.001, 100)
        return found.groups[0] if found else await look()

    async with connect(till.app) as bus:
        async with bus.running():
            await bus.publish_many(orders(1))
            await eventually(lambda: nothing_left(bus))
        await bus.pause("billing")
        await bus.publish_many(orders(2, 3))
        for _ in range(60):  # each counts two milliseconds at most
            group = await look()
            assert (group.live, group.absent_s) == (True, 0.0)
        assert await inspector.raw.xlen(inspector.keys.stream) == 2
        await bus.resume("billing")
        await eventually(dead(look))
        assert await inspector.raw.xlen(inspector.keys.stream) == 0


async def test_a_group_that_is_destroyed_while_it_is_paused_blocks_no_trimming_and_comes_back_paused(
    connect: Connect, broker: Broker, inspector: Inspector
) -> None:
    """Without a group, it is as dead as any other. When it is there again, it rests still, so retention keeps all."""
    retention, streams, till = ev.Retention(keep_s=0.0, dead_after_s=0.05), StreamCommands(broker), Till()
    stream = inspector.keys.stream

    async def trim() -> list[TrimmedGroup]:
        found = await streams.trim("orders", retention, 0.001, 100)
        return await trim() if found is None else list(found.groups)

    async with connect(till.app) as bus:
        await bus.pause("billing")
        await bus.publish_many(orders(1, 2))
        async with bus.running():
            await eventually(lambda: obeyed(bus))
            await trim()
        await inspector.raw.xgroup_destroy(stream, "billing")

        async def is_forgotten() -> bool:
            return await trim() == [] and await inspector.raw.xlen(stream) == 0

        await eventually(is_forgotten)
        async with bus.running():
            await eventually(lambda: obeyed(bus))
            await bus.publish_many(orders(3, 4))
            for _ in range(60):  # each counts two milliseconds at most
                assert [(group.live, group.absent_s) for group in await trim()] == [(True, 0.0)]
            assert await inspector.raw.xlen(stream) == 2
            till.may_end.set()
            await bus.resume("billing")
            await eventually(lambda: till.attempts and nothing_left(bus))
    assert "paused:billing" not in await inspector.raw.hkeys(Keys(broker.keys.namespace).retention("orders"))


def dead(look: Callable[[], Awaitable[TrimmedGroup]]) -> Callable[[], Awaitable[bool]]:
    async def is_dead() -> bool:
        return not (await look()).live

    return is_dead


async def test_only_an_operator_may_pause(connect: Connect, raw: redis.Redis, namespace: str, url: str) -> None:
    """By its rules alone: each other role is refused, and nothing has changed."""
    refused = list[str]()
    async with connect(Till().app) as bus:
        for role in ("publisher", "consumer", "monitor", "operator"):
            user = f"{namespace}-{role}"
            rules = ev.acl_rules(namespace, roles=[role])
            await raw.execute_command("ACL", "SETUSER", user, "reset", "on", ">secret", *rules.split())  # type: ignore[no-untyped-call]  # redis-py
            try:
                async with connect(Till().app, url=as_user(url, user)) as own:
                    await own.pause("billing", by=role)
            except ev.AccessDenied:
                refused.append(role)
                assert not (await bus.pauses("billing"))[0].paused
                assert await raw.hget(Keys(namespace).group("orders", "billing").sweep, "paused") is None
            finally:
                await raw.execute_command("ACL", "DELUSER", user)  # type: ignore[no-untyped-call]
        [state] = await bus.pauses("billing")
        assert refused == ["publisher", "consumer", "monitor"] and [each.by for each in state.records] == ["operator"]


def as_user(url: str, user: str) -> str:
    return url.replace("://", f"://{user}:secret@", 1)
