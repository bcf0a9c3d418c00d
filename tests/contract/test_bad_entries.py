"""An entry that cannot be read is kept byte for byte in the dead-letter queue, and the consumer goes on."""

import asyncio
import re

import pytest
from pydantic import field_validator

import eventlib as ev
from eventlib.broker.consuming import ConsumerCommands
from eventlib.events.envelope import decode, write
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import Connect, OrderPlaced, OrderShipped, Record, new_app, nothing_left

pytestmark = pytest.mark.one_server  # what is tested is the client's own side

TEN_MB = 10_000_000
GOOD = write(OrderPlaced(number=1), "shop", None, None)[1]
BAD: dict[str, tuple[str, dict[bytes, bytes]]] = {
    "no JSON": ("undecodable", {b"event": b"\x00\xff hello"}),
    "truncated": ("undecodable", {b"event": GOOD[:-4]}),
    "empty": ("undecodable", {b"event": b""}),
    "no event field": ("undecodable", {b"body": GOOD}),
    "a field name that is no text": ("undecodable", {b"\xff\x00": b"\xfe", b"": b""}),
    "the library's own field names": ("undecodable", {b"attempts": b"x", b"origin": b"y", b"reason": b"z"}),
    "wrong type of a field": ("undecodable", {b"event": GOOD.replace(b'"number":1', b'"number":"one"')}),
    "a newer version": ("unsupported_version", {b"event": GOOD.replace(b'"eventversion":1', b'"eventversion":9')}),
    "an older version": ("unsupported_version", {b"event": GOOD.replace(b'"eventversion":1', b'"eventversion":0')}),
    "a version that is no number": (
        "undecodable",
        {b"event": GOOD.replace(b'"eventversion":1', b'"eventversion":"x"')},
    ),
    "another CloudEvents": ("undecodable", {b"event": GOOD.replace(b'"specversion":"1.0"', b'"specversion":"2.0"')}),
    "without id": ("undecodable", {b"event": GOOD.replace(b'"id":', b'"idea":')}),
    "an id that is no text": ("undecodable", {b"event": re.sub(rb'"id":"[^"]+"', b'"id":7', GOOD)}),
    "without type": ("undecodable", {b"event": GOOD.replace(b'"type":', b'"typo":')}),
    "without source": ("undecodable", {b"event": GOOD.replace(b'"source":', b'"sauce":')}),
    "without data": ("undecodable", {b"event": GOOD.replace(b'"data":', b'"date":')}),
    "a time that is none": ("undecodable", {b"event": re.sub(rb'"time":"[^"]+"', b'"time":"soon"', GOOD)}),
    "a list": ("undecodable", {b"event": b"[" + GOOD + b"]"}),
    "a field that is missing": ("undecodable", {b"event": GOOD.replace(b'"number":1', b"")}),
    "no number at all": ("undecodable", {b"event": GOOD.replace(b'"number":1', b'"number":NaN')}),
    "an endless number": ("undecodable", {b"event": GOOD.replace(b'"number":1', b'"number":' + b"9" * 5000)}),
    "a NUL in the JSON": ("undecodable", {b"event": GOOD.replace(b"shop", b"sh\x00p")}),
    "half a surrogate pair": ("undecodable", {b"event": GOOD.replace(b"shop", b"sh\\ud800p")}),
    "an encoded surrogate": ("undecodable", {b"event": GOOD.replace(b"shop", b"sh\xed\xa0\x80p")}),
    "another encoding": ("undecodable", {b"event": GOOD.decode().encode("utf-16")}),
    "nested without end": ("undecodable", {b"event": GOOD.replace(b"1}", b"[" * 100_000)}),
    "10 MB that are no JSON": ("undecodable", {b"event": b"x" * TEN_MB}),
    "10 MB in a wrong field": (
        "undecodable",
        {b"event": GOOD.replace(b'"number":1', b'"number":"%b"' % (b"x" * TEN_MB))},
    ),
    "many fields": ("undecodable", {b"f%d" % n: b"" for n in range(3000)}),
}


@pytest.mark.parametrize(("reason", "fields"), BAD.values(), ids=BAD)
async def test_trap_11_a_bad_entry_becomes_a_dead_letter_and_the_next_entry_is_handled(
    connect: Connect, inspector: Inspector, reason: str, fields: dict[bytes, bytes]
) -> None:
    app, handled = new_app(concurrency=1, newer_version_wait_s=0.0)
    record = Record()
    await inspector.raw.xadd(inspector.keys.stream, fields)  # type: ignore[arg-type]  # invariant dict
    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish(OrderPlaced(number=2))
        await eventually(lambda: handled == [2] and record.count("dead") == 1)
        [dead] = await bus.dead_letters("orders", "billing").find()
        await eventually(lambda: nothing_left(bus))
    assert (dead.reason, dead.attempts, dead.handler) == (reason, 1, "")
    assert dead.raw == fields
    assert dead.error.startswith(("DecodeError: ", "UnsupportedVersion: ")) and len(dead.error) <= 2000


async def test_an_event_whose_type_has_no_handler_is_acknowledged_unhandled(
    connect: Connect, inspector: Inspector
) -> None:
    app, handled = new_app()
    record = Record()
    async with connect(app) as bus, bus.running(observe=record):
        await bus.publish_many([OrderShipped(number=1), OrderPlaced(number=2)])
        await eventually(lambda: nothing_left(bus))
        assert await bus.dead_letters("orders", "billing").find() == []
    assert handled == [2]
    assert record.kinds() == ["started", "handled", "acked"]
    assert await inspector.pending() == []


async def test_an_unknown_field_beside_the_event_does_no_harm(connect: Connect, inspector: Inspector) -> None:
    app, handled = new_app()
    async with connect(app) as bus, bus.running():
        await inspector.add(event=GOOD, trace="x", attempts="many", origin="elsewhere")
        await eventually(lambda: handled == [1])


async def test_an_unknown_field_named_like_a_field_of_a_retry_does_no_harm_when_the_entry_is_given_back(
    connect: Connect, inspector: Inspector
) -> None:
    """The library adds fields on the retry stream. A writer's own field of the same name must not be taken for one."""
    app, handled = new_app()
    await inspector.add(event=GOOD, attempts="many", origin="elsewhere")
    await inspector.read_and_die()
    async with connect(app) as bus:
        await ConsumerCommands(bus._broker, inspector.keys, "dead").leave()
        async with bus.running():
            await eventually(lambda: handled == [1])


class NoteWritten(ev.Event, type="note.written", version=1, stream="orders"):
    text: str


@pytest.mark.parametrize(
    "text",
    ["x" * TEN_MB, "a\x00b", "\U0001f600 \u2028 \ufffe \x7f", '"}\\', ""],
    ids=["10 MB", "NUL", "rare characters", "JSON", "empty"],
)
async def test_an_event_arrives_unchanged_on_every_path(connect: Connect, text: str) -> None:
    """The paths: published, retried at once, retried after a delay, given back, dead-lettered."""
    app, texts, paused = ev.App("shop"), list[str](), asyncio.Event()
    errors = [ev.RetryAfter(0.0), ev.RetryAfter(0.001), None, ev.Reject(text)]

    @app.subscribe(NoteWritten, group="billing")
    async def file(event: NoteWritten, _: ev.Delivery) -> None:
        texts.append(event.text)
        if (error := errors[len(texts) - 1]) is not None:
            raise error
        paused.set()
        await asyncio.Event().wait()  # until it is cancelled, and the event given back

    async with connect(app) as bus:
        async with bus.running(grace_s=0.0):
            await bus.publish(NoteWritten(text=text))
            await paused.wait()
        async with bus.running():
            [dead] = await eventually(lambda: bus.dead_letters("orders", "billing").find())
        assert (await bus.backlog("orders", "billing")).total == 0
    assert texts == [text] * 4
    envelope = decode(dead.raw[b"event"], {"note.written": NoteWritten})
    assert envelope is not None and envelope.event == NoteWritten(text=text)


async def test_an_event_id_in_two_entries_is_delivered_twice_with_the_same_event_id(
    connect: Connect, inspector: Inspector
) -> None:
    """Another program may have written the event twice. A handler can recognise it by `delivery.event_id`."""
    app, ids, acted = ev.App("shop"), list[str | None](), list[int]()

    @app.subscribe(OrderPlaced, group="billing")
    async def bill(event: OrderPlaced, delivery: ev.Delivery) -> None:
        if delivery.event_id not in ids:
            acted.append(event.number)
        ids.append(delivery.event_id)

    async with connect(app) as bus, bus.running():
        for _ in range(2):
            await inspector.add(event=GOOD)
        await eventually(lambda: len(ids) == 2)
        await eventually(lambda: nothing_left(bus))
    assert len(set(ids)) == 1 and acted == [1]


class Exploded(BaseException):
    """Like the error of a panic in an extension module: not a subclass of Exception."""


@pytest.mark.parametrize("error", [Exploded("boom"), SystemExit(3), asyncio.CancelledError()], ids=repr)
async def test_an_event_whose_validator_raises_any_error_becomes_a_dead_letter_and_the_consumer_goes_on(
    connect: Connect, inspector: Inspector, error: BaseException
) -> None:
    class Touchy(ev.Event, type="order.touchy", version=1, stream="orders"):
        number: int

        @field_validator("number")
        @classmethod
        def explode(cls, number: int) -> int:
            if number == 13 and reading:
                raise error
            return number

    app, handled, reading = ev.App("shop"), list[int](), False

    @app.subscribe(Touchy, group="billing")
    async def bill(event: Touchy, delivery: ev.Delivery) -> None:
        handled.append(event.number)

    async with connect(app) as bus, bus.running():
        _, unlucky = write(Touchy(number=13), "shop")
        reading = True
        with pytest.raises(ev.InvalidArgument, match="cannot be read back"):
            await bus.publish(Touchy.model_construct(number=13))
        await inspector.add(event=unlucky)  # by a program whose class has no such validator
        [dead_letter] = await eventually(inspector.dead_letters)
        await bus.publish(Touchy(number=1))
        await eventually(lambda: handled == [1])
    assert dead_letter[b"reason"] == b"undecodable"
    assert type(error).__name__.encode() in dead_letter[b"error"]
