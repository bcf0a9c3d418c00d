"""What cannot be published says so in a typed error, and nothing that was acknowledged is lost or doubled."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
import redis.asyncio as redis
from pydantic import field_serializer

import eventlib as ev
from eventlib.events import envelope
from eventlib.events.envelope import decode
from eventlib.publish import publisher as publishing
from eventlib.testing import private_server
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import Connect, OrderPlaced, StockCounted, orders


class NoteWritten(ev.Event, type="note.written", version=1, stream="orders"):
    text: str


class OddWritten(ev.Event, type="odd.written", version=1, stream="orders"):
    text: str

    @field_serializer("text")
    def refuse(self, text: str) -> str:
        raise ValueError("not today")


async def texts(inspector: Inspector) -> list[str]:
    read = [decode(fields[b"event"], {"note.written": NoteWritten}) for fields in await inspector.events()]
    return [e.event.text for e in read if e and isinstance(e.event, NoteWritten)]


@pytest.mark.parametrize("text", ["nul \0 inside", "\u2028 \U0001f600 é", '"\\', "x" * 10_000_000])
async def test_odd_text_arrives_as_it_is(connect: Connect, inspector: Inspector, text: str) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish(NoteWritten(text=text))
    assert await texts(inspector) == [text]


async def test_many_large_events_arrive_in_order(connect: Connect, inspector: Inspector) -> None:
    """Together they are more than goes into one batch."""
    sent = [str(n) * 1_500_000 for n in range(9)]
    async with connect(ev.App("shop")) as bus:
        await bus.publish_many([NoteWritten(text=text) for text in sent])
    assert await texts(inspector) == sent


@pytest.mark.parametrize("event", [NoteWritten.model_construct(text="\ud800"), OddWritten(text="a")])
async def test_an_event_without_a_json_form_is_refused_before_anything_is_sent(
    connect: Connect, inspector: Inspector, event: ev.Event
) -> None:
    async with connect(ev.App("shop")) as bus:
        with pytest.raises(ev.InvalidArgument):
            await bus.publish_many([NoteWritten(text="fine"), event])
        with pytest.raises(ev.InvalidArgument):
            await bus.publish(NoteWritten(text="fine"), correlation_id="\ud800")
    assert await inspector.events() == []


async def test_an_event_over_the_limit_is_refused_before_anything_is_sent(
    connect: Connect, inspector: Inspector
) -> None:
    async with connect(ev.App("shop")) as bus:
        with pytest.raises(ev.EventTooLarge) as caught:
            await bus.publish_many([NoteWritten(text="fine"), NoteWritten(text="x" * envelope.EVENT_BYTES_MAX)])
        await bus.publish(NoteWritten(text="x" * (envelope.EVENT_BYTES_MAX - 1000)))
    assert caught.value.size_bytes > caught.value.size_bytes_max == envelope.EVENT_BYTES_MAX
    assert len(await inspector.events()) == 1


async def test_a_server_that_is_full_refuses_a_batch_whole(binary: Path) -> None:
    with private_server(binary=binary) as server:
        async with redis.Redis.from_url(server.url) as admin:
            async with ev.connect(ev.App("shop"), server.url) as bus:
                await bus.publish(OrderPlaced(number=0))
                await admin.config_set("maxmemory", "1")
                with pytest.raises(ev.BrokerFull, match="maxmemory"):
                    await bus.publish_many(
                        orders(*range(1, 400)), ids=[f"e{n}" for n in range(1, 400)], unique_for_s=60.0
                    )
                assert await admin.xlen("ev:{orders}:events") == 1
                await admin.config_set("maxmemory", "0")
                await bus.publish_many(orders(*range(1, 400)), ids=[f"e{n}" for n in range(1, 400)], unique_for_s=60.0)
            assert await admin.xlen("ev:{orders}:events") == 400


async def test_what_was_appended_before_a_refusal_is_told(
    connect: Connect, inspector: Inspector, raw: redis.Redis
) -> None:
    stock = inspector.keys.stream.replace("orders", "stock")
    await raw.set(stock, "no stream")
    async with connect(ev.App("shop")) as bus:
        ids = [f"e{n}" for n in range(700)]
        with pytest.raises(ev.PartlyPublished, match="WRONGTYPE") as caught:
            await bus.publish_many([*orders(*range(699)), StockCounted(number=0)], ids=ids)
        assert caught.value.ids == tuple(ids[:699])
        assert isinstance(caught.value.__cause__, ev.BrokerError)
        with pytest.raises(ev.BrokerError, match="WRONGTYPE") as whole:
            await bus.publish(StockCounted(number=0))
        assert not isinstance(whole.value, ev.PartlyPublished)
    assert len(await inspector.events()) == 699


async def test_nothing_of_a_call_is_appended_after_what_failed(
    connect: Connect, inspector: Inspector, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three slices; the second is refused, and the third would be accepted again."""
    async with connect(ev.App("shop")) as bus:
        send, sent = bus._broker.publish, list[int]()

        async def refuse_the_second(stream: str, producer: str, first: int, *rest: object) -> int:
            sent.append(first)
            if len(sent) == 2:
                raise ev.BrokerError("here", "not now")
            return await send(stream, producer, first, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(bus._broker, "publish", refuse_the_second)
        with pytest.raises(ev.PartlyPublished) as caught:
            await bus.publish_many(orders(*range(1500)))
        await bus.publish(OrderPlaced(number=1))
        assert len(caught.value.ids) == 500
    assert len(await inspector.events()) == 501 and len(sent) == 3


async def test_a_password_changed_meanwhile(binary: Path) -> None:
    with private_server("--requirepass", "old", binary=binary, port=0) as server:
        url = server.url.replace("redis://", "redis://:old@")
        async with redis.Redis.from_url(url) as admin, ev.connect(ev.App("shop"), url) as bus:
            await bus.publish(OrderPlaced(number=0))
            await admin.config_set("requirepass", "new")
            await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]
            with pytest.raises(ev.AccessDenied):
                await bus.publish(OrderPlaced(number=1))
            await admin.config_set("requirepass", "old")
            await bus.publish(OrderPlaced(number=2))
            assert await admin.xlen("ev:{orders}:events") == 2


async def test_a_flush_in_the_middle_stops_nobody(connect: Connect, inspector: Inspector, raw: redis.Redis) -> None:
    """What was there is gone; all that is published afterwards is there once."""
    async with connect(ev.App("shop")) as bus:
        await bus.publish_many(orders(*range(10)))
        await bus.delete_all()
        await raw.script_flush()
        await bus.publish_many(orders(*range(10, 20)))
        await bus.publish(OrderPlaced(number=20))
    assert len(await inspector.events()) == 11


async def test_a_bus_that_closes_sends_what_is_queued_and_refuses_who_still_waits(
    connect: Connect, inspector: Inspector, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "QUEUED_MAX", 3)
    async with connect(ev.App("shop")) as bus:
        calls = [asyncio.create_task(bus.publish(event)) for event in orders(*range(9))]
        await asyncio.sleep(0)
    results = await asyncio.gather(*calls, return_exceptions=True)
    sent = [result for result in results if isinstance(result, str)]
    assert len(sent) == len(await inspector.events()) >= 3
    assert all(isinstance(result, str | ev.BusClosed) for result in results)
    assert any(isinstance(result, ev.BusClosed) for result in results)
    await eventually(lambda: all(call.done() for call in calls))


async def test_a_large_call_that_waits_for_room_while_the_bus_closes_tells_what_was_appended(
    connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "QUEUED_MAX", 700)
    ids = [f"e{n}" for n in range(2000)]
    async with connect(ev.App("shop")) as bus:
        call = asyncio.create_task(bus.publish_many(orders(*range(2000)), ids=ids))
        await asyncio.sleep(0)
    with pytest.raises(ev.PartlyPublished) as caught:
        await asyncio.wait_for(call, 5.0)
    assert isinstance(caught.value.__cause__, ev.BusClosed)
    assert caught.value.ids == tuple(ids[: len(await inspector.events())])
    assert caught.value.ids and bus._publisher.room._count == 0


@pytest.mark.parametrize("unsure_first", [False, True])
async def test_what_may_have_been_appended_to_one_stream_is_not_hidden_by_a_refusal_of_another(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, unsure_first: bool
) -> None:
    async with connect(ev.App("shop"), outage_policy=ev.Fail()) as bus:

        async def failing(stream: str, *_: object) -> int:
            if (stream == "orders") == unsure_first:
                raise ev.BrokerUnavailable("here", "no reply")
            raise ev.BrokerError("here", "no stream")

        monkeypatch.setattr(bus._broker, "publish", failing)
        with pytest.raises(ev.BrokerUnavailable, match="no reply"):
            await bus.publish_many([OrderPlaced(number=0), StockCounted(number=0)])


async def test_an_interrupted_close_tells_everyone(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(started: asyncio.Event, calls: list[asyncio.Task[str]]) -> None:
        async with connect(ev.App("shop")) as bus:

            async def never(*_: object) -> int:
                started.set()
                return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

            monkeypatch.setattr(bus._broker, "publish", never)
            calls += [asyncio.create_task(bus.publish(event)) for event in orders(1, 2)]
            await started.wait()
            calls.append(asyncio.create_task(bus.publish(OrderPlaced(number=3))))
            await asyncio.sleep(0)

    started, calls = asyncio.Event(), list[asyncio.Task[str]]()
    using = asyncio.create_task(use(started, calls))
    await started.wait()
    while not using.cancelling():
        await asyncio.sleep(0.01)  # until it hangs in close
        using.cancel()
    await asyncio.wait({using})
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [ev.BrokerUnavailable, ev.BrokerUnavailable, ev.BusClosed]


@pytest.mark.parametrize(
    "about",
    [
        *({"correlation_id": 42}, {"causation_id": b"x"}, {"traceparent": 42}, {"id": 42}),
        *({"id": "a", "unique_for_s": "1"}, {"id": "a", "unique_for_s": 10**5000}),
        *({name: 10**5000} for name in ("correlation_id", "causation_id", "traceparent", "id")),
    ],
)
async def test_what_is_no_text_is_refused_and_not_published(connect: Connect, inspector: Inspector, about: Any) -> None:
    async with connect(ev.App("shop")) as bus:
        with pytest.raises(ev.InvalidArgument):
            await bus.publish(OrderPlaced(number=1), **about)
        with pytest.raises(ev.InvalidArgument):
            await bus.publish_many([OrderPlaced(number=1)], ids=cast(Any, [None]), unique_for_s=5.0)
    assert await inspector.events() == []
