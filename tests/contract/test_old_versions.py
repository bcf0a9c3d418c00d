"""Events of older versions are delivered as the newest version. Those of newer versions wait for a newer program."""

from typing import Any

import pytest

import eventlib as ev
from eventlib.events.envelope import decode
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect, Record
from tests.wire.orders import CLASSES, FOLDER, OrderPlaced, stored

pytestmark = pytest.mark.one_server  # what is tested is the client's own side

READABLE = sorted(file.stem for file in FOLDER.glob("v[123]*.json"))


def new_app() -> tuple[ev.App, list[OrderPlaced]]:
    app, handled = ev.App("shop"), list[OrderPlaced]()
    app.group("billing", newer_version_wait_s=0.0)

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        handled.append(event)

    return app, handled


async def test_every_stored_version_is_delivered_as_the_newest(connect: Connect, inspector: Inspector) -> None:
    app, handled = new_app()
    for name in READABLE:
        await inspector.add(event=stored(name))
    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(order_id="A1", total_cents=4200, currency="EUR"))
        await eventually(lambda: len(handled) == len(READABLE) + 1)
        assert await bus.dead_letters("orders", "billing").find() == []
    assert set(handled) == {OrderPlaced(order_id="A1", total_cents=4200, currency="EUR")}


async def test_an_event_of_a_newer_version_is_kept_byte_for_byte_and_the_next_event_is_handled(
    connect: Connect, inspector: Inspector
) -> None:
    app, handled = new_app()
    await inspector.add(event=stored("v4_future"))
    await inspector.add(event=stored("v1_bare"))
    async with connect(app) as bus, bus.running():
        await eventually(lambda: len(handled) == 1)
        [dead] = await eventually(lambda: bus.dead_letters("orders", "billing").find())
    assert (dead.reason, dead.raw) == ("unsupported_version", {b"event": stored("v4_future")})
    assert "update this program" in dead.error


async def test_an_event_whose_upcaster_fails_is_kept_as_a_dead_letter(connect: Connect, inspector: Inspector) -> None:
    app, handled = new_app()
    raw = stored("v1_bare").replace(b'"42.00"', b'"forty"')
    await inspector.add(event=raw)
    async with connect(app) as bus, bus.running():
        [dead] = await eventually(lambda: bus.dead_letters("orders", "billing").find())
    assert (dead.reason, dead.raw, handled) == ("undecodable", {b"event": raw}, [])
    assert "order.placed version 1" in dead.error and "forty" in dead.error
    assert "float(" in dead.traceback, "the line of the upcaster that failed"
    read = decode(raw.replace(b"forty", b"42.00"), CLASSES)
    assert read is not None and isinstance(read.event, OrderPlaced)


class Old(ev.Event, type="price.changed", version=1, stream="orders"):
    cents: int


class New(ev.Event, type="price.changed", version=2, stream="orders"):
    cents: int
    currency: str

    @ev.upcast(1, example={"cents": 4200})
    def _with_currency(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"currency": "EUR"}


def pricing(event_class: type[Old] | type[New], handled: list[tuple[type[ev.Event], int]]) -> ev.App:
    """A version of a service whose retries are few: what waits for the other version must use up none of them."""
    app = ev.App("shop")

    @app.subscribe(event_class, group="billing", retry=ev.Retry(attempts=1))
    async def price(event: Old | New, delivery: ev.Delivery) -> None:
        handled.append((type(event), delivery.attempt))

    return app


async def test_an_event_of_a_newer_version_waits_for_a_newer_consumer_and_loses_no_attempt(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    handled, record = list[tuple[type[ev.Event], int]](), Record()
    async with connect(pricing(Old, handled)) as old, connect(pricing(New, handled)) as new:
        async with old.running(observe=record):
            await new.publish(New(cents=1, currency="EUR"))
            await new.publish(Old(cents=2))
            await eventually(lambda: record.count("retried") >= 2 and handled)
            assert handled == [(Old, 1)], "an event that the old program reads does not wait behind the other"
            assert (await new.backlog("orders", "billing")).dead == 0
        assert [record.message for record in caplog.records if "newer" in record.message] == [
            "orders/billing: price.changed version 2 is newer than this program reads (1): left to newer consumers"
        ]
        async with new.running():
            await eventually(lambda: len(handled) == 2)
            assert handled == [(Old, 1), (New, 1)]
            assert await new.dead_letters("orders", "billing").find() == []


async def test_an_event_of_a_newer_version_does_not_wait_for_ever(connect: Connect, inspector: Inspector) -> None:
    app, _ = new_app()
    app.groups.clear()
    await inspector.raw.xadd(inspector.keys.stream, {"event": stored("v4_future")}, id="1-1")
    async with connect(app) as bus, bus.running():
        [dead] = await eventually(lambda: bus.dead_letters("orders", "billing").find())
    assert dead.reason == "unsupported_version"
