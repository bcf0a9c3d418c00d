"""What cannot be read is kept byte for byte in the dead-letter queue, and the consumer goes on."""

import pytest

import eventlib as ev
from eventlib.envelope import encode, seal
from tests.ledger import Ledger
from tests.shop import Connect, OrderPlaced, OrderShipped, Record, new_app
from tests.waiting import eventually

GOOD = encode(seal(OrderPlaced(number=1), "shop", None, None))
BAD: dict[str, tuple[str, dict[bytes, bytes]]] = {
    "no JSON": ("undecodable", {b"event": b"\x00\xff hello"}),
    "truncated": ("undecodable", {b"event": GOOD[:-4]}),
    "empty": ("undecodable", {b"event": b""}),
    "no event field": ("undecodable", {b"body": GOOD}),
    "a field name that is no text": ("undecodable", {b"\xff\x00": b"\xfe", b"": b""}),
    "the library's own field names": ("undecodable", {b"attempts": b"x", b"origin": b"y", b"reason": b"z"}),
    "wrong type of a field": ("undecodable", {b"event": GOOD.replace(b'"number":1', b'"number":"one"')}),
    "a newer version": ("unsupported_version", {b"event": GOOD.replace(b'"eventversion":1', b'"eventversion":9')}),
    "large": ("undecodable", {b"event": b"x" * 1_000_000}),
    "many fields": ("undecodable", {b"f%d" % n: b"" for n in range(3000)}),
}


@pytest.mark.parametrize(("reason", "fields"), BAD.values(), ids=BAD)
async def test_trap_11_a_bad_entry_is_buried_and_the_next_is_handled(
    connect: Connect, ledger: Ledger, reason: str, fields: dict[bytes, bytes]
) -> None:
    app, handled = new_app(concurrency=1)
    record = Record()
    await ledger.raw.xadd(ledger.keys.stream, fields)  # type: ignore[arg-type]  # invariant dict
    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=2))
        await eventually(lambda: handled == [2] and record.count("dead") == 1)
        [dead] = await bus.dead_letters("orders", "billing").find()
        await eventually(lambda: nothing_left(bus))
    assert (dead.reason, dead.attempts, dead.handler) == (reason, 1, "")
    assert dead.raw == fields
    assert dead.error.startswith(("DecodeError: ", "UnsupportedVersion: "))


async def nothing_left(bus: ev.Bus) -> bool:
    return (await bus.backlog("orders", "billing")).total == 0


async def test_a_type_without_a_handler_is_passed_over(connect: Connect, ledger: Ledger) -> None:
    app, handled = new_app()
    record = Record()
    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish_many([OrderShipped(number=1), OrderPlaced(number=2)])
        await eventually(lambda: nothing_left(bus))
        assert await bus.dead_letters("orders", "billing").find() == []
    assert handled == [2]
    assert record.kinds() == ["started", "handled", "acked"]
    assert await ledger.pending() == []


async def test_a_further_field_beside_the_event_does_no_harm(connect: Connect, ledger: Ledger) -> None:
    app, handled = new_app()
    async with connect(app) as bus, bus.running():
        await ledger.add(event=GOOD, trace="x", attempts="many", origin="elsewhere")
        await eventually(lambda: handled == [1])


async def test_nor_does_it_when_the_entry_is_given_back(connect: Connect, ledger: Ledger) -> None:
    """A foreign field that is called as one of ours must not be taken for it on the retry stream."""
    app, handled = new_app()
    await ledger.add(event=GOOD, attempts="many", origin="elsewhere")
    await ledger.read_and_die()
    async with connect(app) as bus:
        await bus._broker.leave(ledger.keys, "dead")
        async with bus.running():
            await eventually(lambda: handled == [1])
