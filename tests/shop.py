"""The events that the tests send, and a record of what happened to them."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import eventlib as ev

Connect = Callable[..., AbstractAsyncContextManager[ev.Bus]]
AT_ONCE = ev.Retry(attempts=3, wait_s=0.0, jitter="none")


class OrderPlaced(ev.Event, type="order.placed", version=1, stream="orders"):
    number: int


class OrderShipped(ev.Event, type="order.shipped", version=1, stream="orders"):
    number: int


class StockCounted(ev.Event, type="stock.counted", version=1, stream="stock"):
    number: int


async def for_ever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


class Record:
    """An observer that keeps everything it is told."""

    def __init__(self) -> None:
        self.observations: list[ev.Observation] = []

    def __call__(self, observation: ev.Observation) -> None:
        self.observations.append(observation)

    def kinds(self) -> list[str]:
        return [observation.kind for observation in self.observations]

    def count(self, kind: object) -> int:
        return self.kinds().count(str(kind))


def orders(*numbers: int) -> list[OrderPlaced]:
    return [OrderPlaced(number=number) for number in numbers]


async def nothing_left(bus: ev.Bus) -> bool:
    """Has group "billing" no order left to handle? While the server does not answer, that is not known."""
    try:
        return (await bus.backlog("orders", "billing")).total == 0
    except ev.BrokerUnavailable:  # such as on a connection that died with an earlier server
        return False


def new_app(**group: float) -> tuple[ev.App, list[int]]:
    """An App whose group "billing" handles orders, and the numbers that it has handled."""
    app, handled = ev.App("shop"), list[int]()
    app.group("billing", **group)  # type: ignore[arg-type]

    @app.subscribe(OrderPlaced, group="billing", retry=AT_ONCE)
    async def bill(event: OrderPlaced, _: ev.Delivery) -> None:
        handled.append(event.number)

    return app, handled
