"""A service that is asked for quotes, and what it answers."""

import asyncio

import eventlib as ev


class QuoteRequested(ev.Event, type="quote.requested", version=1, stream="requests"):
    number: int


class QuoteGiven(ev.Event, type="quote.given", version=1, stream="quotes"):
    number: int


class QuoteRefused(ev.Event, type="quote.refused", version=1, stream="quotes"):
    number: int


class QuoteNoted(ev.Event, type="quote.noted", version=1, stream="notes"):
    number: int


def quoting(asked: asyncio.Queue[int] | None = None) -> ev.App:
    """An App that gives a quote for every even number and refuses odd ones. Negative numbers get no answer."""
    app = ev.App("quotes")
    app.group("quoting", concurrency=1000)

    @app.subscribe(QuoteRequested, group="quoting")
    async def quote(event: QuoteRequested, delivery: ev.Delivery) -> None:
        if asked is not None:
            asked.put_nowait(event.number)
        if event.number >= 0:
            answer = QuoteRefused if event.number % 2 else QuoteGiven
            await delivery.bus.publish(answer(number=event.number))

    return app
