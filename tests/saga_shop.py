"""The saga that the tests run: an order that is reserved, charged and shipped. What each step does is told by hooks."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

import eventlib as ev
from tests.shop import OrderShipped

AT_ONCE = ev.Retry(attempts=3, wait_s=0.0, jitter="none")


class Order(BaseModel):
    number: int


class Reserved(BaseModel):
    shelf: str


class Charged(BaseModel):
    receipt: int


Context = ev.SagaContext[Order]
Hook = Callable[[Context], Awaitable[None] | None]


@dataclass
class Desk:
    """Does the acts of orders and notes them. A hook for an act runs after it was noted, and may fail or wait."""

    acts: list[str] = field(default_factory=list)
    keys: dict[str, set[str]] = field(default_factory=dict)
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)  # the results that each act saw
    hooks: dict[str, Hook] = field(default_factory=dict)

    async def did(self, act: str, saga: Context) -> None:
        self.acts.append(act)
        self.keys.setdefault(act, set()).add(saga.idempotency_key)
        self.seen[act] = dict(saga.results)
        hook = self.hooks.get(act)
        if hook is not None and (waiting := hook(saga)) is not None:
            await waiting

    def fails(self, act: str, error: BaseException, times: int = 1_000) -> None:
        """The act fails so often."""
        left = [times]

        def hook(_: Context) -> None:
            if left[0]:
                left[0] -= 1
                raise error

        self.hooks[act] = hook


def order_app(desk: Desk, *, steps: dict[str, dict[str, Any]] | None = None, **settings: Any) -> tuple[ev.App, Any]:
    """An App with the saga "order". `steps` has further settings of its steps, by name."""
    app = ev.App("shop")

    async def reserve(saga: Context) -> Reserved:
        await desk.did("reserve", saga)
        return Reserved(shelf=f"s{saga.input.number}")

    async def release(saga: Context) -> None:
        await desk.did("release", saga)

    async def charge(saga: Context) -> Charged:
        await desk.did("charge", saga)
        return Charged(receipt=saga.input.number)

    async def refund(saga: Context) -> None:
        await desk.did("refund", saga)

    async def ship(saga: Context) -> None:
        await desk.did("ship", saga)
        saga.emit(OrderShipped(number=saga.input.number))

    given: dict[str, dict[str, Any]] = {"reserve": {"undo": release}, "charge": {"undo": refund}, "ship": {}}
    for name, more in (steps or {}).items():
        given[name] |= more
    made = [
        ev.Step(do, **{"retry": AT_ONCE, "undo_retry": AT_ONCE, **given[do.__name__]}) for do in (reserve, charge, ship)
    ]
    return app, app.saga("order", *made, input=Order, **settings)
