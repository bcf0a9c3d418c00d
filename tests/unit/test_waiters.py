"""Who hears which event: those who wait for its type and its correlation id, on its stream."""

import json
from typing import Any

from eventlib.replies.waiters import Waiter, Waiters, awaited
from tests.quotes import QuoteGiven


def event(**attributes: Any) -> bytes:
    head = {"specversion": "1.0", "type": "quote.given", "eventversion": 1, "id": "1", "source": "s"}
    rest = {"time": "2026-05-04T12:00:00Z", "data": {"number": 1}}
    return json.dumps(head | attributes | rest, separators=(",", ":")).encode()


async def test_only_the_streams_of_the_awaited_events_count() -> None:
    """Otherwise it would depend on what others of the same bus listen to."""
    waiters, waiter = Waiters(), Waiter(awaited(QuoteGiven), "x", looks_back=False, own=None)
    waiters.add(waiter)
    waiters.hear("notes", event(correlationid="x"))
    assert not waiter.event.done()
    waiters.hear("quotes", event(correlationid="x"))
    assert waiter.event.result() == QuoteGiven(number=1)
    waiters.remove(waiter)
    waiters.hear("quotes", event(correlationid="x"))
    assert waiters.count == 0


async def test_only_the_envelope_says_what_its_correlation_id_is() -> None:
    waiters, waiter = Waiters(), Waiter(awaited(QuoteGiven), "x", looks_back=False, own=None)
    waiters.add(waiter)
    for other in ({"extra": {"a": 1, "correlationid": "x"}}, {"correlationid": "y"}, {"correlationid": 7}, {}):
        waiters.hear("quotes", event(**other))
    assert not waiter.event.done()
    waiters.remove(waiter)
