"""The server's clock jumps, as in a failover to a machine whose clock is wrong. Delivery goes on as if it had not."""

import asyncio
import importlib.util
import os
import shlex
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib import reconnect
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands, Promoted, TakenOver
from eventlib.broker.keys import Keys
from eventlib.policy import Lease
from eventlib.records import Entry, ExpectedTime, Place
from eventlib.testing import Inspector, PrivateServer, eventually, fault_proxy, private_server
from tests.shop import OrderPlaced, Record, orders

HOUR_S = 3600.0
LEASE_S = 0.6
SPEC = importlib.util.find_spec("libfaketime")  # not imported: it would fake this process's clock
LIBRARY = Path((SPEC and SPEC.origin) or "").with_name("vendor") / "libfaketime/src/libfaketime.so.1"


class Clock:
    """The clock of one server, which reads from a file by how much it is wrong. Its monotonic clock is right."""

    def __init__(self, directory: Path, binary: Path) -> None:
        self._offset = directory / "offset"
        self.jump(0.0)
        settings = {"LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(self._offset), "FAKETIME_NO_CACHE": "1"}
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
        self.program = directory / "redis-server"
        self.program.write_text(
            f'#!/bin/sh\nexec env {variables} FAKETIME_DONT_FAKE_MONOTONIC=1 {shlex.quote(str(binary))} "$@"\n'
        )
        self.program.chmod(0o755)

    def jump(self, offset_s: float) -> None:
        """Let the clock be wrong by so much from now on."""
        new = self._offset.with_suffix(".new")
        new.write_text(f"{offset_s:+.0f}")
        os.replace(new, self._offset)


@pytest.fixture
def clock(binary: Path, tmp_path: Path) -> Clock:
    return Clock(tmp_path, binary)


@pytest.fixture
def own(clock: Clock) -> Iterator[PrivateServer]:
    with private_server(binary=clock.program) as server:
        yield server


@pytest.fixture
async def inspector(own: PrivateServer) -> AsyncIterator[Inspector]:
    async with Inspector.open(own.url, "orders", "billing") as found:
        yield found


class Shop:
    """A group whose events above 100 fail at the first attempt, while handlers wait for a gate."""

    def __init__(self, ordered_by: str | None = None, retry_s: float = 0.3, lease_s: float = LEASE_S) -> None:
        self.app = ev.App("shop")
        self.app.group("billing", lease_s=lease_s, ordered_by=ordered_by)
        self.handled: list[int] = []
        self._retry_s, self._failed_at_s = retry_s, dict[int, float]()
        self.waits_s: list[float] = []  # from each failure to the next attempt, by the clock of this process
        self.record = Record()
        self.gate = asyncio.Event()

        @self.app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=9, wait_s=retry_s, jitter="none"))
        async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
            await self.gate.wait()
            if event.number > 100 and delivery.attempt == 1:
                self._failed_at_s[event.number] = time.monotonic()
                raise ValueError("not at first")
            if event.number > 100:
                self.waits_s.append(time.monotonic() - self._failed_at_s[event.number])
            self.handled.append(event.number)

    @property
    def came_early(self) -> list[float]:
        """The waits of retries that did not wait. Half of the time tells it from what a clock is put right by."""
        return [wait_s for wait_s in self.waits_s if wait_s < self._retry_s / 2]


async def noticed(caplog: pytest.LogCaptureFixture, times: int = 1) -> None:
    await eventually(lambda: caplog.text.count("the server's clock jumped") == times)


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
@pytest.mark.parametrize("ordered_by", [None, "number"])
async def test_a_jump_of_the_servers_clock_holds_up_neither_retries_nor_takeovers(
    own: PrivateServer,
    clock: Clock,
    inspector: Inspector,
    jump_s: float,
    ordered_by: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Retries were scheduled and entries were held by a dead consumer when the clock jumped. Then it is put right."""
    shop = Shop(ordered_by, retry_s=1.5)
    shop.gate.set()
    async with ev.connect(shop.app, own.url) as bus:
        await bus.publish_many(orders(*range(1, 6)))
        if ordered_by is None:
            await inspector.read_and_die(5)
        async with bus.running(observe=shop.record), bus.running(observe=shop.record):
            await bus.publish_many(orders(*range(101, 111)))
            await eventually(lambda: shop.record.count("retried") == 10)
            clock.jump(jump_s)
            await noticed(caplog)
            await bus.publish_many(orders(*range(111, 116)))
            await eventually(lambda: shop.record.count("retried") == 15)
            clock.jump(0.0)
            await noticed(caplog, 2)
            await bus.publish_many(orders(6))
            async with asyncio.timeout(30.0):
                await bus.drained("orders", "billing")
    assert sorted(shop.handled) == [1, 2, 3, 4, 5, 6, *range(101, 116)]
    assert shop.came_early == []
    assert shop.record.count("lost") == 0


async def test_after_a_jump_forward_no_entry_in_live_hands_is_taken_over(
    own: PrivateServer, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both consumers try to sweep before the jump is noticed and before a lease is renewed."""
    monkeypatch.setattr(Lease, "sweep_every_s", LEASE_S / 2.0)
    shop, swept, noticing = Shop(lease_s=60.0), Counter[str](), asyncio.Event()  # no machine stands still for so long
    sweep, promote, renew = ConsumerCommands.sweep, ConsumerCommands.promote, ConsumerCommands.renew

    async def count(commands: ConsumerCommands, *args: Any, **rest: Any) -> TakenOver:
        found = await sweep(commands, *args, **rest)
        swept[commands._consumer] += 1
        return found

    async def promote_later(commands: ConsumerCommands, *args: Any, **rest: Any) -> Promoted:
        await noticing.wait()
        return await promote(commands, *args, **rest)

    async def renew_later(commands: ConsumerCommands, entries: Sequence[Entry]) -> set[Place]:
        await noticing.wait()
        return await renew(commands, entries)

    async def both_sweep() -> None:
        swept.clear()
        await eventually(lambda: len(swept) == 2 and min(swept.values()) >= 2)

    noticing.set()
    monkeypatch.setattr(ConsumerCommands, "sweep", count)
    monkeypatch.setattr(ConsumerCommands, "promote", promote_later)
    monkeypatch.setattr(ConsumerCommands, "renew", renew_later)
    async with ev.connect(shop.app, own.url) as bus, bus.running(observe=shop.record), bus.running(observe=shop.record):
        await bus.publish_many(orders(*range(1, 7)))  # so few that no consumer is full, or it would not sweep
        await eventually(lambda: shop.record.count("started") == 6)
        await both_sweep()
        noticing.clear()
        clock.jump(HOUR_S)
        await both_sweep()
        noticing.set()
        await noticed(caplog)
        await both_sweep()
        shop.gate.set()
        async with asyncio.timeout(30.0):
            await bus.drained("orders", "billing")
    assert sorted(shop.handled) == list(range(1, 7)) and shop.record.count("lost") == 0


async def test_a_clock_that_was_put_back_while_no_consumer_ran_is_noticed_by_the_next_one(
    own: PrivateServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop(retry_s=0.2)
    shop.gate.set()
    async with ev.connect(shop.app, own.url) as bus:
        async with bus.running(observe=shop.record):
            await bus.publish_many(orders(101, 102))
            await eventually(lambda: shop.record.count("retried") == 2)
        clock.jump(-HOUR_S)
        async with bus.running(observe=shop.record):
            await noticed(caplog)
            async with asyncio.timeout(30.0):
                await bus.drained("orders", "billing")
    assert sorted(shop.handled) == [101, 102]


async def test_a_consumer_that_starts_after_a_jump_leaves_it_to_the_others_to_put_right(
    own: PrivateServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot tell the jump from hours in which no consumer ran. Its own retries wait until it knows the time."""
    shop = Shop(retry_s=1.0)
    shop.gate.set()
    early, late = Record(), Record()
    async with ev.connect(shop.app, own.url) as bus, bus.running(observe=early):
        await bus.publish_many(orders(101, 102))
        await eventually(lambda: early.count("retried") == 2)
        clock.jump(HOUR_S)
        async with bus.running(observe=late):
            await bus.publish_many(orders(*range(103, 123)))
            await eventually(lambda: early.count("retried") + late.count("retried") == 22)
            async with asyncio.timeout(30.0):
                await bus.drained("orders", "billing")
    assert shop.came_early == []
    assert sorted(shop.handled) == list(range(101, 123)) and caplog.text.count("clock jumped") == 1


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
async def test_a_clock_that_could_not_be_put_right_at_once_is_not_taken_for_right(
    own: PrivateServer, clock: Clock, jump_s: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full server refuses it, or a connection breaks."""
    tries = list[float]()
    put_right = ConsumerCommands.put_clock_right

    async def fails_twice(commands: ConsumerCommands, *args: Any) -> bool | None:
        tries.append(args[1])
        if len(tries) <= 2:
            raise ev.BrokerUnavailable("a test", "no answer")
        return await put_right(commands, *args)

    monkeypatch.setattr(ConsumerCommands, "put_clock_right", fails_twice)
    shop = Shop(retry_s=1.0)
    shop.gate.set()
    async with ev.connect(shop.app, own.url) as bus, bus.running(observe=shop.record):
        await bus.publish_many(orders(101, 102))
        await eventually(lambda: shop.record.count("retried") == 2)
        clock.jump(jump_s)
        await noticed(caplog)
        async with asyncio.timeout(30.0):
            await bus.drained("orders", "billing")
    assert shop.came_early == []
    assert [round(tried / 1000.0, -1) for tried in tries] == [jump_s] * 3


@pytest.mark.parametrize(
    ("seen_ago_s", "jump_s", "expected_ago_s", "done"),
    [
        (1.0, 3600.0, 3600.0, None),  # others saw this very time
        (3600.0, 3600.0, 3600.0, True),
        (3600.0, 3600.0, 0.0, False),  # it has jumped back meanwhile
        (3600.0, 3600.0, 7200.0, False),  # or again
        (0.5, -2.0, -2.0, None),
        (-1.0, -2.0, -2.0, True),  # others saw a later time, though the last one saw it a second ago
        (-3600.0, -3600.0, -3600.0, True),
    ],
)
async def test_a_clock_is_put_right_unless_it_jumps_again_or_others_saw_no_jump(
    broker: Broker,
    raw: redis.Redis,
    namespace: str,
    seen_ago_s: float,
    jump_s: float,
    expected_ago_s: float,
    done: bool | None,
) -> None:
    group = Keys(namespace).group("orders", "billing")
    commands = ConsumerCommands(broker, group, "c1")
    await commands.ensure_group()
    seconds, microseconds = await raw.time()
    now_ms = seconds * 1000.0 + microseconds / 1000.0
    await raw.hset(group.sweep, "seen", f"{now_ms - seen_ago_s * 1000.0:.3f}")
    expected = ExpectedTime(now_ms - expected_ago_s * 1000.0, 0.0)
    assert await commands.put_clock_right(0.0, jump_s * 1000.0, expected) is done


def silent_s(bus: ev.Bus) -> float:
    """For how many seconds the answer to the consumer's read has been due."""
    [consumer] = bus.health()
    return consumer.silent_s


async def test_a_server_that_stood_still_is_not_taken_for_a_clock_that_jumped(
    own: PrivateServer, inspector: Inspector, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop()
    shop.gate.set()
    async with ev.connect(shop.app, own.url) as bus, bus.running(observe=shop.record):
        await bus.publish_many(orders(1, 101))
        await eventually(lambda: shop.record.count("acked") == 2)
        own.pause()
        await eventually(lambda: silent_s(bus) > 2.5)  # longer than a jump must be to be noticed
        own.resume()
        await bus.publish_many(orders(2, 102))
        await eventually(lambda: shop.record.count("acked") == 4)
        offset = await inspector.raw.hget(inspector.keys.sweep, "offset")
    assert offset is None and "clock" not in caplog.text


@pytest.mark.parametrize("first", [True, False])
async def test_a_publish_whose_reply_is_lost_is_appended_once_though_the_clock_jumps_past_the_producers_memory(
    own: PrivateServer, clock: Clock, inspector: Inspector, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server forgets the producer's number, whose key expires by its clock. It finds the bodies themselves."""
    monkeypatch.setattr(reconnect, "RECONNECT", ev.Retry(wait_s=0.5, jitter="none"))  # time enough for the jump
    async with ev.connect(Shop().app, own.url, namespace="other") as bus:
        await bus.publish(OrderPlaced(number=0))  # the server knows the script
    async with fault_proxy(own.url) as proxy, ev.connect(Shop().app, proxy.url) as bus:
        if not first:
            await bus.publish(OrderPlaced(number=1))
        proxy.lose_reply_to(b"order.placed")
        publishing = asyncio.create_task(bus.publish_many(orders(2, 3), ids=["a", "b"], unique_for_s=60.0))
        await eventually(lambda: proxy.lost)
        clock.jump(2 * HOUR_S)
        await publishing
        await bus.publish(OrderPlaced(number=4))
    assert len(await inspector.events()) == (3 if first else 4)


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
async def test_a_jump_of_the_servers_clock_neither_repeats_nor_misses_slots_of_schedules(
    own: PrivateServer, clock: Clock, jump_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    app, begun = ev.App("shop"), list[str]()

    @app.task()
    async def note() -> None:
        begun.append(ev.current_task().id)

    app.schedule("s", note, every_s=0.1, missed="all")
    async with ev.connect(app, own.url) as bus, bus.running(), bus.running():
        await eventually(lambda: len(begun) >= 3)
        clock.jump(jump_s)
        await noticed(caplog)
        many = len(begun) + 5
        await eventually(lambda: len(begun) >= many)
        clock.jump(0.0)
        await noticed(caplog, 2)
        many = len(begun) + 5
        await eventually(lambda: len(begun) >= many)
        records = (await bus.schedules.history("s", limit=1000))[::-1]
    slots = [record.slot_s for record in records]
    assert slots == [round(slots[0] + 0.1 * number, 3) for number in range(len(slots))] and len(slots) < 600
    assert len(begun) == len(set(begun))
