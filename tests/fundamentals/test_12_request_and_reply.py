"""A reply is an event with the correlation id of its request. Whoever asks for it later gets it too."""

import eventlib as ev
from tests.shop import Connect


class QuoteRequested(ev.Event, type="quote.requested", version=1, stream="requests"):
    order_id: str


class QuoteGiven(ev.Event, type="quote.given", version=1, stream="quotes"):
    order_id: str
    total_cents: int


class QuoteRefused(ev.Event, type="quote.refused", version=1, stream="quotes"):
    order_id: str


app = ev.App("quotes")


@app.subscribe(QuoteRequested, group="quoting")
async def quote(event: QuoteRequested, delivery: ev.Delivery) -> None:
    if event.order_id.startswith("A"):
        await delivery.bus.publish(
            QuoteGiven(order_id=event.order_id, total_cents=4200)
        )  # the correlation id goes along
    else:
        await delivery.bus.publish(QuoteRefused(order_id=event.order_id))


async def test_a_request_returns_its_reply(connect: Connect) -> None:
    async with connect(app) as service, service.running(), connect(ev.App("shop")) as shop:
        given = await shop.request(QuoteRequested(order_id="A1"), QuoteGiven, timeout_s=5.0)
        assert given.total_cents == 4200

        answer = await shop.request(QuoteRequested(order_id="B1"), QuoteGiven | QuoteRefused, timeout_s=5.0)
        assert isinstance(answer, QuoteRefused)


async def test_a_caller_that_was_away_gets_its_reply(connect: Connect) -> None:
    async with connect(app) as service, service.running():
        id_ = ev.new_correlation_id()  # kept somewhere safe before the request is published
        async with connect(ev.App("shop")) as shop:
            await shop.publish(QuoteRequested(order_id="A1"), correlation_id=id_)

        async with connect(ev.App("shop")) as later:
            given = await later.reply(id_, QuoteGiven, timeout_s=5.0)
            assert given.order_id == "A1"


async def test_waiting_begins_before_what_is_waited_for(connect: Connect) -> None:
    async with connect(app) as service, service.running(), connect(ev.App("shop")) as shop:
        async with shop.waiting_for(QuoteGiven, correlation_id="order-1", timeout_s=5.0) as given:
            await shop.publish(QuoteRequested(order_id="A1"), correlation_id="order-1")

        assert given.event.order_id == "A1"
