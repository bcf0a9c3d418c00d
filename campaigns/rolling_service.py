"""A service in two versions, for the campaign of rolling deploys. Each notes what it begins and handles in a file."""

import asyncio
import os
import random
import time
from functools import cache
from typing import Any

import eventlib as ev

STREAM, GROUP = "orders", "billing"
LEASE_S = float(os.environ.get("ROLLING_LEASE_S", "1.0"))
WORK_S = 0.005  # mean; exponential


class OrderPlacedV1(ev.Event, type="order.placed", version=1, stream=STREAM):
    number: int
    due_s: float  # when it was meant to be published, in Unix seconds
    cents: int


class OrderPlacedV2(ev.Event, type="order.placed", version=2, stream=STREAM):
    number: int
    due_s: float
    total_cents: int
    currency: str

    @ev.upcast(1, example={"number": 1, "due_s": 0.0, "cents": 4200})
    def _with_currency(data: dict[str, Any]) -> dict[str, Any]:
        data["total_cents"] = data.pop("cents")
        return data | {"currency": "EUR"}


Order = OrderPlacedV1 | OrderPlacedV2


def _app_of(event_class: type[Order]) -> ev.App:
    app = ev.App("rolling")
    app.group(GROUP, lease_s=LEASE_S)

    @app.subscribe(event_class, group=GROUP)
    async def bill(order: Order, delivery: ev.Delivery) -> None:
        _note("begun", order)
        await asyncio.sleep(random.expovariate(1.0 / WORK_S))
        _note("handled", order)

    return app


def _note(what: str, order: Order) -> None:
    """One `write` a line: it is there after SIGKILL."""
    os.write(_log(), f"{what} {order.number} {os.getpid()} {time.time() - order.due_s:.6f}\n".encode())


@cache
def _log() -> int:
    return os.open(os.environ["ROLLING_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


old, new = _app_of(OrderPlacedV1), _app_of(OrderPlacedV2)
