"""A producer's clock is wrong by two hours. Its events say so, and nothing that the library decides follows them."""

import time
from uuid import UUID

import pytest

import eventlib as ev
from eventlib.events import envelope
from eventlib.testing import eventually
from tests.quotes import QuoteGiven
from tests.shop import Connect, OrderPlaced

pytestmark = pytest.mark.one_server  # the server's clock is right: what is tested is the client's own side

HOUR_S, OFF_S = 3600.0, 7200.0
SOON_S = 60.0  # far below what the clock is wrong by, and far above what a busy machine takes


@pytest.fixture(params=[OFF_S, -OFF_S], ids=["ahead", "behind"])
def off_s(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """By how much the clock that a producer reads is wrong."""
    monkeypatch.setattr(envelope, "time_ns", lambda: time.time_ns() + int(request.param * 1e9))
    return float(request.param)


async def test_ids_retries_and_lags_are_those_of_the_server(connect: Connect, off_s: float) -> None:
    """Only who computes a lag from an event's own time is misled, and by just so much."""
    app, seen = ev.App("shop"), list[tuple[float, float]]()

    @app.subscribe(OrderPlaced, group="billing", retry=ev.Retry(attempts=3, wait_s=0.01))
    async def charge(event: OrderPlaced, delivery: ev.Delivery) -> None:
        assert delivery.envelope is not None
        appended_s = int(delivery.entry.id.partition("-")[0]) / 1000.0
        seen.append((time.time() - appended_s, time.time() - delivery.envelope.time.timestamp()))
        if delivery.attempt == 1:
            raise RuntimeError("once more")

    async with connect(app) as bus, bus.running():
        await bus.publish(OrderPlaced(number=1))
        await eventually(lambda: sum(bus.counts()["orders", "billing"].lag.counts) == 1)
        lag_s = bus.counts()["orders", "billing"].lag.total
    assert len(seen) == 2
    assert lag_s < SOON_S
    assert abs(seen[0][0]) < SOON_S
    assert seen[0][1] == pytest.approx(-off_s, abs=SOON_S)


async def test_a_caller_whose_clock_is_ahead_misses_what_came_before(connect: Connect) -> None:
    """A correlation id that the library made says when; an hour is allowed for. One that says no time finds all."""
    async with connect(ev.App("shop")) as bus:
        for id_ in (made_at(0.5 * HOUR_S), made_at(-OFF_S), "order-7"):
            await bus.publish(QuoteGiven(number=7), correlation_id=id_)
            assert (await bus.reply(id_, QuoteGiven, timeout_s=30.0)).number == 7
        ahead = made_at(OFF_S)
        await bus.publish(QuoteGiven(number=8), correlation_id=ahead)
        with pytest.raises(ev.EventWaitTimeout):
            await bus.reply(ahead, QuoteGiven, timeout_s=0.3)


def made_at(off_s: float) -> str:
    """A correlation id that was made by a clock that is wrong by so much."""
    milliseconds, version_7, variant = int((time.time() + off_s) * 1000), 7 << 76, 2 << 62
    return str(UUID(int=milliseconds << 80 | version_7 | variant))
