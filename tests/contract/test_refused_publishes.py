"""A publish that is refused raises a typed error, and no acknowledged event is lost or doubled."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
import redis.asyncio as redis
from pydantic import field_serializer

import eventlib as ev
from eventlib.broker.publishing import PublishCommands
from eventlib.events import envelope
from eventlib.events.envelope import decode
from eventlib.publish import capacity
from eventlib.records import NumberedBatch
from eventlib.testing import private_server
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import Connect, OrderPlaced, StockCounted, orders

pytestmark = pytest.mark.every_server  # what a server says and allows is its own


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


def failed(error: Exception) -> "asyncio.Future[int]":
    """A call that ended with an error."""
    call: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    call.set_exception(error)
    return call


@pytest.mark.parametrize("text", ["nul \0 inside", "\u2028 \U0001f600 é", '"\\', "x" * 10_000_000])
async def test_unusual_text_arrives_unchanged(connect: Connect, inspector: Inspector, text: str) -> None:
    async with connect(ev.App("shop")) as bus:
        await bus.publish(NoteWritten(text=text))
    assert await texts(inspector) == [text]


async def test_many_large_events_arrive_in_order(connect: Connect, inspector: Inspector) -> None:
    """Together they are too large for one batch."""
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


async def test_a_full_server_refuses_all_of_a_batch(binary: Path) -> None:
    with private_server(binary=binary) as server:
        async with redis.Redis.from_url(server.url) as admin:
            async with ev.connect(ev.App("shop"), server.url, outage_policy=ev.Fail()) as bus:
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


async def test_the_error_of_a_partly_refused_call_names_the_events_that_were_appended(
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


async def test_no_slice_of_a_call_is_appended_after_one_that_failed(
    connect: Connect, inspector: Inspector, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three slices the second is refused. The server would accept the third."""
    async with connect(ev.App("shop")) as bus:
        append, sent = PublishCommands.append, list[int]()

        def refuse_the_second(commands: PublishCommands, batch: NumberedBatch, *args: Any, **rest: Any) -> object:
            sent.append(batch.first)
            if len(sent) == 2:
                return failed(ev.BrokerError("here", "not now"))
            return append(commands, batch, *args, **rest)

        monkeypatch.setattr(PublishCommands, "append", refuse_the_second)
        with pytest.raises(ev.PartlyPublished) as caught:
            await bus.publish_many(orders(*range(1500)))
        await bus.publish(OrderPlaced(number=1))
        assert len(caught.value.ids) == 500
    assert len(await inspector.events()) == 501 and len(sent) == 3


async def test_publishing_goes_on_when_a_changed_password_is_set_right(binary: Path) -> None:
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


async def test_publishing_goes_on_after_all_keys_and_scripts_were_flushed(
    connect: Connect, inspector: Inspector, raw: redis.Redis
) -> None:
    """Earlier events are gone; each later event is there once."""
    async with connect(ev.App("shop")) as bus:
        await bus.publish_many(orders(*range(10)))
        await bus.delete_all()
        await raw.script_flush()
        await bus.publish_many(orders(*range(10, 20)))
        await bus.publish(OrderPlaced(number=20))
    assert len(await inspector.events()) == 11


async def test_a_bus_that_closes_sends_what_is_queued_and_refuses_publishes_that_wait_for_capacity(
    connect: Connect, inspector: Inspector, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "QUEUED_MAX", 3)
    async with connect(ev.App("shop")) as bus:
        calls = [asyncio.create_task(bus.publish(event)) for event in orders(*range(9))]
        await asyncio.sleep(0)
    results = await asyncio.gather(*calls, return_exceptions=True)
    sent = [result for result in results if isinstance(result, str)]
    assert len(sent) == len(await inspector.events()) >= 3
    assert all(isinstance(result, str | ev.BusClosed) for result in results)
    assert any(isinstance(result, ev.BusClosed) for result in results)
    await eventually(lambda: all(call.done() for call in calls))


async def test_a_large_call_that_waits_for_capacity_when_the_bus_closes_names_what_was_appended(
    connect: Connect, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "QUEUED_MAX", 700)
    ids = [f"e{n}" for n in range(2000)]
    async with connect(ev.App("shop")) as bus:
        call = asyncio.create_task(bus.publish_many(orders(*range(2000)), ids=ids))
        await asyncio.sleep(0)
    with pytest.raises(ev.PartlyPublished) as caught:
        await asyncio.wait_for(call, 30.0)
    assert isinstance(caught.value.__cause__, ev.BusClosed)
    assert caught.value.ids == tuple(ids[: len(await inspector.events())])
    assert caught.value.ids and bus._publisher.capacity.count == 0


@pytest.mark.parametrize("unsure_first", [False, True])
async def test_no_answer_for_one_stream_is_not_hidden_by_a_refusal_of_another(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, unsure_first: bool
) -> None:
    async with connect(ev.App("shop"), outage_policy=ev.Fail()) as bus:

        def failing(_: PublishCommands, batch: NumberedBatch, *__: object, **___: object) -> asyncio.Future[int]:
            if (batch.stream == "orders") == unsure_first:
                return failed(ev.BrokerUnavailable("here", "no reply"))
            return failed(ev.BrokerError("here", "no stream"))

        monkeypatch.setattr(PublishCommands, "append", failing)
        with pytest.raises(ev.BrokerUnavailable, match="no reply"):
            await bus.publish_many([OrderPlaced(number=0), StockCounted(number=0)])


async def test_a_close_that_is_cancelled_fails_all_calls(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(started: asyncio.Event, calls: list[asyncio.Task[str]]) -> None:
        async with connect(ev.App("shop")) as bus:

            def never(*_: object, **__: object) -> asyncio.Future[int]:
                started.set()
                return asyncio.get_running_loop().create_future()

            monkeypatch.setattr(PublishCommands, "append", never)
            calls += [asyncio.create_task(bus.publish(event)) for event in orders(1, 2)]
            await started.wait()
            calls.append(asyncio.create_task(bus.publish(OrderPlaced(number=3))))
            await asyncio.sleep(0)

    started, calls = asyncio.Event(), list[asyncio.Task[str]]()
    using = asyncio.create_task(use(started, calls))
    await started.wait()
    while not using.cancelling():
        await asyncio.sleep(0.01)  # until it waits in close
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
async def test_attributes_of_a_wrong_type_are_refused(connect: Connect, inspector: Inspector, about: Any) -> None:
    async with connect(ev.App("shop")) as bus:
        with pytest.raises(ev.InvalidArgument):
            await bus.publish(OrderPlaced(number=1), **about)
        with pytest.raises(ev.InvalidArgument):
            await bus.publish_many([OrderPlaced(number=1)], ids=cast(Any, [None]), unique_for_s=5.0)
    assert await inspector.events() == []


async def test_a_class_for_an_event_and_an_event_for_a_list_are_refused(connect: Connect) -> None:
    async with connect(ev.App("shop")) as bus:
        with pytest.raises(ev.InvalidArgument, match="it is a class, not an event"):
            await bus.publish(cast(Any, NoteWritten))
        with pytest.raises(ev.InvalidArgument, match="give a list of events"):
            await bus.publish_many(cast(Any, NoteWritten(text="a")))
