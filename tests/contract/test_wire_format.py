"""What is in Redis has the fields that docs/wire-format.md names, on every server."""

import re
from typing import Any

import redis.asyncio as redis

import eventlib as ev
from eventlib.broker import Broker, Entry
from tests.docs import wire
from tests.ledger import Ledger
from tests.shop import AT_ONCE, Connect, OrderPlaced, new_app
from tests.waiting import eventually


def names_in(entry: dict[bytes, bytes]) -> list[str]:
    return [name.decode() for name in entry]


async def take_over(broker: Broker, ledger: Ledger) -> Entry:
    """The one entry of the stream in the hands of consumer "me"."""
    [id_] = await ledger.read_and_die()
    await ledger.claim(id_, "dead", idle_ms=10_000, deliveries=1)
    _, [taken] = await broker.sweep(ledger.keys, "me", 1.0, 1, 1.0)
    return taken


async def test_an_event_is_one_field(connect: Connect, ledger: Ledger) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish(OrderPlaced(number=1))
    [entry] = await ledger.events()
    assert names_in(entry) == wire.names("The event stream")


async def test_a_retried_entry(broker: Broker, ledger: Ledger) -> None:
    id_ = await ledger.add(event=b"{}")
    taken = await take_over(broker, ledger)
    assert await broker.retry(ledger.keys, "me", taken, 1, 0.0)
    [entry] = await ledger.events(retried=True)
    assert names_in(entry) == wire.names("The retry stream")
    assert entry == {b"event": b"{}", b"attempts": b"1", b"origin": id_.encode()}


async def test_a_delayed_entry_is_the_example(broker: Broker, ledger: Ledger, raw: redis.Redis) -> None:
    [example] = wire.examples("hex")
    member = bytes.fromhex(example)
    await raw.zadd(ledger.keys.delayed, {member: 1.5})
    assert await broker.promote(ledger.keys, 10) == (1, None)
    [entry] = await ledger.events(retried=True)
    assert entry == {b"event": b"{}", b"attempts": b"1", b"origin": b"1777896000250-0"}


async def test_the_example_is_what_a_retry_writes(broker: Broker, ledger: Ledger, raw: redis.Redis) -> None:
    [example] = wire.examples("hex")
    await raw.xadd(ledger.keys.stream, {"event": "{}"}, id="1777896000250-0")
    taken = await take_over(broker, ledger)
    assert await broker.retry(ledger.keys, "me", taken, 1, 60.0)
    assert await raw.zrange(ledger.keys.delayed, 0, -1) == [bytes.fromhex(example)]
    [due_s] = await ledger.due_s()
    assert 50.0 < due_s - await ledger.now_s() <= 60.0, "due in ms since 1970"


async def test_a_dead_letter(connect: Connect, ledger: Ledger) -> None:
    app = ev.App("shop")

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def fail(_: OrderPlaced, __: ev.Delivery) -> None:
        raise ev.Reject("no")

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        [entry] = await eventually(ledger.dead_letters)
    documented = [name for name in wire.names("The dead-letter queue") if not name.startswith("raw.")]
    assert names_in(entry) == [*documented, "raw.event"]


async def test_a_dead_letter_of_very_many_fields_is_packed(connect: Connect, ledger: Ledger) -> None:
    app, _ = new_app()
    await ledger.add(**{f"f{n}": b"" for n in range(3501)})
    async with connect(app) as bus, bus.running():
        [entry] = await eventually(ledger.dead_letters)
    assert [name for name in names_in(entry) if name.startswith("raw.")] == ["raw.packed"]
    assert "raw.packed" in wire.names("The dead-letter queue")


async def test_the_sweep_hash(broker: Broker, ledger: Ledger, raw: redis.Redis) -> None:
    await broker.ensure_group(ledger.keys)
    await broker.sweep(ledger.keys, "me", 1.0, 1, 1.0)
    found: Any = await raw.hgetall(ledger.keys.sweep)
    assert set(names_in(found)) == set(wire.names("The sweep hash"))


async def test_the_producer_key_holds_the_last_number(broker: Broker, raw: redis.Redis) -> None:
    await broker.publish("orders", "p1", 1, [b"{}", b"{}"])
    assert await raw.get(broker.keys.producer("orders", "p1")) == b"2"
    [lifetime_ms] = re.findall(r"(\d+) as the lifetime", wire.text())
    assert 0 < int(lifetime_ms) - await raw.pttl(broker.keys.producer("orders", "p1")) + 1 < 60_000
