"""Events of older versions are delivered as the newest version. Events of newer versions are kept as dead letters."""

import pytest

import eventlib as ev
from eventlib.events.envelope import decode
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import AT_ONCE, Connect
from tests.wire.orders import CLASSES, FOLDER, OrderPlaced, stored

pytestmark = pytest.mark.one_server  # what is tested is the client's own side

READABLE = sorted(file.stem for file in FOLDER.glob("v[123]*.json"))


def new_app() -> tuple[ev.App, list[OrderPlaced]]:
    app, handled = ev.App("shop"), list[OrderPlaced]()

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
