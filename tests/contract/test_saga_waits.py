"""Waiting for sagas asks nothing again and again, and calls about sagas wait for the server as the bus was told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import eventlib as ev
from eventlib import notices
from eventlib.broker.sagas import SagaStore
from eventlib.testing import fault_proxy
from eventlib.testing.waiting import eventually
from tests.saga_shop import Desk, Order, order_app
from tests.shop import Connect

pytestmark = pytest.mark.one_server  # what is tested is the client's own side

WAIT_S = 30.0


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the sagas that were looked at. None is looked at because time has passed."""
    found, load = list[str](), SagaStore.load

    def note(store: SagaStore, saga_id: str) -> Awaitable[dict[str, bytes] | None]:
        found.append(saga_id)
        return load(store, saga_id)

    monkeypatch.setattr(SagaStore, "load", note)
    monkeypatch.setattr(notices, "LOOK_S", 3600.0)
    return found


@pytest.mark.parametrize(("act", "status"), [("", "completed"), ("ship", "compensated"), ("refund", "parked")])
async def test_who_waits_for_a_saga_hears_of_its_end(connect: Connect, looks: list[str], act: str, status: str) -> None:
    desk, under_way, goes_on = Desk(), asyncio.Event(), asyncio.Event()
    app, order = order_app(desk)

    async def hold(_: Any) -> None:
        under_way.set()
        await goes_on.wait()

    for failing in {"ship", act} if act else ():
        desk.fails(failing, ev.Reject("no"))
    desk.hooks["charge"] = hold
    async with connect(app) as bus, connect(app) as worker, worker.running():
        saga_id = await bus.start(order, Order(number=1))
        await under_way.wait()
        looks.clear()
        waits = [asyncio.create_task(bus.sagas(order).wait(saga_id, timeout_s=WAIT_S)) for _ in range(3)]
        await eventually(lambda: len(looks) == 6)  # before listening began, and after
        goes_on.set()
        records = await asyncio.gather(*waits)
        assert {record.status for record in records} == {status}
        assert len(looks) == 9


async def test_a_wait_for_a_saga_is_ended_by_its_limit_and_by_closing(connect: Connect) -> None:
    app, order = order_app(Desk())
    async with connect(app) as bus:
        saga_id = await bus.start(order, Order(number=1))
        for timeout_s in (0.0, 0.01):
            with pytest.raises(ev.WaitTimeout, match="is still running"):
                await bus.sagas(order).wait(saga_id, timeout_s=timeout_s)
        waiting = asyncio.create_task(bus.sagas(order).wait(saga_id, timeout_s=WAIT_S))
        await eventually(lambda: bus._sagas._notices["order"]._waiters)
    with pytest.raises(ev.BusClosed):
        await waiting


async def test_calls_about_sagas_and_dead_letters_follow_the_outage_policy(connect: Connect, url: str) -> None:
    app, order = order_app(Desk())
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url, outage_policy=ev.Fail()) as bus:
        faulty.refusing = True
        faulty.cut()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: bus.start(order, Order(number=1)),
            lambda: bus.sagas(order).list(),
            lambda: bus.dead_letters("orders", "billing").find(),
        ]
        for call in calls:
            async with asyncio.timeout(WAIT_S):  # `Wait` would take 30 s
                with pytest.raises(ev.BrokerUnavailable):
                    await call()
