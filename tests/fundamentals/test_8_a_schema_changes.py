"""When a schema changes, raise the version and add an upcaster for old data. Old events are then still handled."""

from typing import Any

import eventlib as ev
from eventlib.events.envelope import write
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.shop import Connect


class OldOrder(ev.Event, type="order.placed", version=1, stream="orders"):
    total: str


class Order(ev.Event, type="order.placed", version=2, stream="orders"):
    total_cents: int

    @ev.upcast(1, example={"total": "42.00"})
    def _in_cents(data: dict[str, Any]) -> dict[str, Any]:
        return {"total_cents": round(float(data["total"]) * 100)}


async def test_an_old_event_is_delivered_as_the_newest_version(connect: Connect, inspector: Inspector) -> None:
    app, handled = ev.App("shop"), list[Order]()

    @app.subscribe(Order, group="billing")
    async def bill(event: Order, _: ev.Delivery) -> None:
        handled.append(event)

    await inspector.add(event=write(OldOrder(total="42.00"), "an old program")[1])
    async with connect(app) as bus, bus.running():
        await bus.publish(Order(total_cents=4200))
        await eventually(lambda: handled == [Order(total_cents=4200), Order(total_cents=4200)])
