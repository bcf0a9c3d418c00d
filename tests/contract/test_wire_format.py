"""Entries, hashes and keys in Redis have the fields that docs/wire-format.md names, on every server."""

import re
from typing import Any

import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.dead_letters import DeadLetterCommands
from eventlib.broker.pausing import PauseCommands
from eventlib.broker.publishing import PublishCommands
from eventlib.broker.streams import StreamCommands
from eventlib.records import Entry, NumberedBatch, Unique
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.docs import wire
from tests.reading import read_as
from tests.shop import AT_ONCE, Connect, OrderPlaced, new_app


def names_in(entry: dict[bytes, bytes]) -> list[str]:
    return [name.decode() for name in entry]


async def take_over(broker: Broker, inspector: Inspector) -> Entry:
    """Have consumer "me" take over the only entry of the stream."""
    [id_] = await inspector.read_and_die()
    await inspector.take_over(id_, "dead", idle_ms=10_000, deliveries=0)
    _, [taken], _ = await ConsumerCommands(broker, inspector.keys, "me").sweep(1.0, 1, 1.0)
    return taken


async def test_an_event_is_one_field(connect: Connect, inspector: Inspector) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish(OrderPlaced(number=1))
    [entry] = await inspector.events()
    assert names_in(entry) == wire.names("The event stream")


def unpacked(member: bytes) -> list[bytes]:
    """A MessagePack array of up to 15 strings, each of up to 31 bytes."""
    found, at = list[bytes](), 1
    while at < len(member):
        assert member[at] & 0b11100000 == 0b10100000, "a short string"
        end = at + 1 + (member[at] & 0b11111)
        found.append(member[at + 1 : end])
        at = end
    assert member[0] == 0b10010000 + len(found), "an array of so many"
    return found


async def is_recent(ms: bytes, inspector: Inspector) -> bool:
    return abs(await inspector.now_s() - int(ms) / 1000.0) < 60.0


async def test_a_retried_entry(broker: Broker, inspector: Inspector) -> None:
    id_ = await inspector.add(event=b"{}", foreign=b"x")
    taken = await take_over(broker, inspector)
    assert await ConsumerCommands(broker, inspector.keys, "me").retry(taken, 0.0)
    [entry] = await inspector.events(retried=True)
    assert names_in(entry)[:3] == ["event", "foreign", "attempts"]
    assert set(names_in(entry)) - {"foreign"} == set(wire.names("The retry stream")) - {"replays", "edited", "packed"}
    assert await is_recent(entry.pop(b"failed"), inspector)
    assert entry == {b"event": b"{}", b"foreign": b"x", b"attempts": b"1", b"origin": id_.encode()}


async def test_a_retried_entry_of_very_many_fields_is_packed(broker: Broker, inspector: Inspector) -> None:
    await inspector.add(event=b"{}", **{f"f{n}": b"" for n in range(3500)})
    taken = await take_over(broker, inspector)
    assert await ConsumerCommands(broker, inspector.keys, "me").retry(taken, 0.0)
    [entry] = await inspector.events(retried=True)
    assert names_in(entry)[:2] == ["event", "attempts"]
    assert set(names_in(entry)) == set(wire.names("The retry stream")) - {"replays", "edited"}
    assert entry[b"packed"].startswith(b"\xdc" + (7002).to_bytes(2, "big") + b"\xa5event\xa2{}\xa2f0\xa0")


async def test_an_edited_and_replayed_entry_has_its_fields_on_the_retry_stream_and_as_a_dead_letter(
    broker: Broker, inspector: Inspector, raw: redis.Redis
) -> None:
    await inspector.add(event=b"{}")
    taken = await take_over(broker, inspector)
    why = dict.fromkeys(["reason", "error", "handler", "consumer", "traceback"], "1")
    await ConsumerCommands(broker, inspector.keys, "me").to_dead_letters(taken, why)
    [found] = await DeadLetterCommands(broker, inspector.keys).read("-", "+", 10)
    assert await DeadLetterCommands(broker, inspector.keys).edit(found.id, b"[]")
    edits: Any = await raw.hgetall(inspector.keys.edits)
    edited, _, event = edits[found.id.encode()].partition(b" ")
    assert wire.names("The edits hash") == ["DEAD_LETTER"]
    assert event == b"[]"
    assert await is_recent(edited, inspector)

    await DeadLetterCommands(broker, inspector.keys).replay([found.id], keep_attempts=False)
    [entry] = await inspector.events(retried=True)
    assert set(names_in(entry)) == set(wire.names("The retry stream")) - {"packed"}
    assert (entry[b"event"], entry[b"attempts"], entry[b"replays"], entry[b"edited"]) == (b"[]", b"0", b"1", edited)

    [again] = await read_as(broker, inspector.keys, "me", 1)
    await ConsumerCommands(broker, inspector.keys, "me").to_dead_letters(again, why)
    [dead] = await inspector.dead_letters()
    assert names_in(dead) == [*documented_of_dead_letters(), "raw.event"]
    assert (dead[b"replays"], dead[b"edited"], dead[b"raw.event"]) == (b"1", edited, b"[]")


async def test_the_documented_example_of_a_delayed_entry_is_promoted(
    broker: Broker, inspector: Inspector, raw: redis.Redis
) -> None:
    member = bytes.fromhex(wire.examples("hex")[0])
    await raw.zadd(inspector.keys.delayed, {member: 1.5})
    assert (await ConsumerCommands(broker, inspector.keys, "c1").promote(10))[:2] == (1, None)
    [entry] = await inspector.events(retried=True)
    assert entry == {b"event": b"{}", b"attempts": b"1", b"origin": b"1777896000250-0", b"failed": b"1777896001000"}


async def test_a_retry_writes_the_documented_example_of_a_delayed_entry(
    broker: Broker, inspector: Inspector, raw: redis.Redis
) -> None:
    example = unpacked(bytes.fromhex(wire.examples("hex")[0]))
    await raw.xadd(inspector.keys.stream, {"event": "{}"}, id="1777896000250-0")
    taken = await take_over(broker, inspector)
    assert await ConsumerCommands(broker, inspector.keys, "me").retry(taken, 60.0)
    members: Any = await raw.zrange(inspector.keys.delayed, 0, -1)
    [member] = members
    written = unpacked(member)
    assert written[:4] == example[:4]
    added, shown = (dict(zip(fields[4::2], fields[5::2], strict=True)) for fields in (written, example))
    assert await is_recent(added.pop(b"failed"), inspector)
    del shown[b"failed"]
    assert added == shown
    [due_s] = await inspector.due_s()
    assert 50.0 < due_s - await inspector.now_s() <= 60.0, "due in ms since 1970"


async def test_the_head_of_a_key_and_the_entry_parked_behind_it(
    broker: Broker, inspector: Inspector, raw: redis.Redis
) -> None:
    body = b'{"data":{"id":7}}'
    ids = [await inspector.add(event=body) for _ in range(2)]
    await ConsumerCommands(broker, inspector.keys, "c1").ensure_group()
    [head] = await read_as(broker, inspector.keys, "me", 10, ordered_by="id")
    first, second = ids
    documented = [name.replace("LANE", "n7").replace("ORIGIN", first) for name in wire.names("The heads hash")]
    values = [first.encode(), b"stream n7"]
    assert await raw.hgetall(inspector.keys.key_queue_heads) == dict(
        zip(map(str.encode, documented), values, strict=True)
    )

    parked: Any = await raw.zrange(inspector.keys.key_queues, 0, -1, withscores=True)
    [(member, score)] = parked
    lane, origin, fields = member.split(b" ", 2)
    padded = "-".join(number.zfill(20) for number in second.split("-"))
    assert (lane, origin.decode(), score) == (b"n7", padded, 0.0)
    assert unpacked(fields)[:4] == [b"event", body, b"attempts", b"0"]
    assert unpacked(fields)[4:] == [b"origin", second.encode()], "what is parked has not failed"

    await ConsumerCommands(broker, inspector.keys, "me").retry(head, 60.0)
    heads: Any = await raw.hgetall(inspector.keys.key_queue_heads)
    [due_s] = await inspector.due_s()
    assert heads[f"head {first}".encode()] == f"delayed/{due_s * 1000.0:.3f} n7".encode()


def documented_of_dead_letters() -> list[str]:
    return [name for name in wire.names("The dead-letter queue") if not name.startswith("raw.")]


async def test_a_dead_letter(connect: Connect, inspector: Inspector) -> None:
    app = ev.App("shop")

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def fail(_: OrderPlaced, __: ev.Delivery) -> None:
        raise ev.Reject("no")

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        [entry] = await eventually(inspector.dead_letters)
    in_time = [name for name in documented_of_dead_letters() if name not in ("replays", "edited")]
    assert names_in(entry) == [*in_time, "raw.event"]
    assert await is_recent(entry[b"failed"], inspector)


async def test_a_dead_letter_of_very_many_fields_is_packed(connect: Connect, inspector: Inspector) -> None:
    app, _ = new_app()
    await inspector.add(**{f"f{n}": b"" for n in range(3501)})
    async with connect(app) as bus, bus.running():
        [entry] = await eventually(inspector.dead_letters)
    assert [name for name in names_in(entry) if name.startswith("raw.")] == ["raw.packed"]
    assert "raw.packed" in wire.names("The dead-letter queue")


async def test_the_sweep_hash(broker: Broker, inspector: Inspector, raw: redis.Redis) -> None:
    await inspector.add(event=b'{"data":{"id":7}}')
    await ConsumerCommands(broker, inspector.keys, "c1").ensure_group()
    await read_as(broker, inspector.keys, "me", 10, ordered_by="id")
    await ConsumerCommands(broker, inspector.keys, "c1").free_stuck()
    commands = ConsumerCommands(broker, inspector.keys, "me")
    await commands.sweep(1.0, 1, 1.0)
    await commands.promote(1)
    await raw.hset(inspector.keys.sweep, "seen", "0")  # as if no consumer had looked for very long
    assert await commands.put_clock_right(0.0, 5.0)
    await PauseCommands(broker, inspector.keys, None).put(True, "ann", "")
    found: Any = await raw.hgetall(inspector.keys.sweep)
    assert set(names_in(found)) == set(wire.names("The sweep hash"))


async def test_the_retention_hash(broker: Broker, inspector: Inspector, raw: redis.Redis) -> None:
    await inspector.add(event=b"{}")
    await ConsumerCommands(broker, inspector.keys, "c1").ensure_group()
    await StreamCommands(broker).declare_retention("orders", ev.Retention())
    await StreamCommands(broker).trim("orders", None, 1.0, 1)
    await PauseCommands(broker, inspector.keys, broker.keys.retention("orders")).put(True, "ann", "")
    found: Any = await raw.hgetall(broker.keys.retention("orders"))
    assert set(names_in(found)) == {name.replace("GROUP", "billing") for name in wire.names("What a stream keeps")}


async def test_the_probe_leaves_no_key(broker: Broker, inspector: Inspector, raw: redis.Redis) -> None:
    await StreamCommands(broker).backlog("orders", "billing")
    assert not await raw.exists(broker.keys.probe("orders"))


async def test_the_key_of_a_unique_id_is_empty_and_expires(broker: Broker, raw: redis.Redis) -> None:
    assert (
        await PublishCommands(broker).append(
            NumberedBatch("orders", 1, [b"{}", b"{}"], [Unique(1, "e1", 60.0)]), "p1", 3600.0
        )
        == 2
    )
    key = broker.keys.unique("orders", "e1")
    assert await raw.get(key) == b""
    assert 0 < await raw.pttl(key) <= 60_000
    assert (
        await PublishCommands(broker).append(
            NumberedBatch("orders", 1, [b"{}", b"{}"], [Unique(1, "e1", 60.0)]), "p2", 3600.0
        )
        == 1
    )


async def test_the_producer_key_holds_the_last_number(broker: Broker, raw: redis.Redis) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"{}", b"{}"]), "p1", 3600.0)
    assert await raw.get(broker.keys.producer("orders", "p1")) == b"2"
    [lifetime_ms] = re.findall(r"(\d+) as the lifetime", wire.text())
    assert 0 < int(lifetime_ms) - await raw.pttl(broker.keys.producer("orders", "p1")) + 1 < 60_000
