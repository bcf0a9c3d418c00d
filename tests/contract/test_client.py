"""A client publishes and asks, meets an outage as it was told to, and says what it is doing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.keys import Keys
from eventlib.catalog import Message, NotificationSent
from eventlib.testing import eventually, fault_proxy
from tests.catalog_samples import NOON
from tests.quotes import QuoteGiven, QuoteRequested, quoting
from tests.shop import Connect

pytestmark = pytest.mark.one_server  # what is tested is the client's own side

LONG_S = 30.0
ASK = {"notification_id": "n1", "user_id": "u1", "message": Message(title="Hello", body=""), "channels": ("email",)}


@pytest.fixture
def settings(url: str, namespace: str) -> dict[str, Any]:
    return {"url": url, "name": "billing", "namespace": namespace}


async def test_a_client_publishes_by_fields_and_is_the_source(
    settings: dict[str, Any], raw: redis.Redis, namespace: str
) -> None:
    async with ev.Client(**settings) as client:
        id_ = await client.publish_notification_requested(
            notification_id="n1", user_id="u1", message=Message(title="Hello", body=""), channels=("email",)
        )
        sent = NotificationSent(notification_id="n1", user_id="u1", channel="email", sent_at=NOON)
        ids = await client.publish_many([sent, sent], ids=["s1", "s2"])
    entries: Any = await raw.xrange(Keys(namespace).stream("notifications"))
    written = [fields[b"event"] for _, fields in entries]
    assert ids == ["s1", "s2"] and id_.encode() in written[0]
    assert all(b'"source":"billing"' in each for each in written)


async def test_a_client_asks(settings: dict[str, Any], connect: Connect) -> None:
    async with connect(quoting()) as service, service.running(), ev.Client(**settings) as client:
        assert (await client.request(QuoteRequested(number=2), QuoteGiven, timeout_s=LONG_S)).number == 2
        async with client.waiting_for(QuoteGiven, correlation_id="x", timeout_s=LONG_S) as given:
            await client.publish(QuoteRequested(number=4), correlation_id="x")
        assert given.event == await client.reply("x", QuoteGiven, timeout_s=LONG_S) == QuoteGiven(number=4)


async def test_a_client_serves_inside_its_block_alone(settings: dict[str, Any]) -> None:
    client = ev.Client(**settings)
    for _ in range(2):  # a new block may begin when one has ended
        with pytest.raises(ev.BusClosed, match="Client"):
            await client.publish(QuoteGiven(number=1))
        with pytest.raises(ev.BusClosed):
            await client.request(QuoteRequested(number=1), QuoteGiven, timeout_s=LONG_S)
        with pytest.raises(ev.BusClosed):
            client.health()
        async with client:
            await client.publish(QuoteGiven(number=1))
            with pytest.raises(ev.InvalidArgument, match="block runs already"):
                await client.__aenter__()
    with pytest.raises(ev.InvalidDeclaration, match="App name"):
        ev.Client(name="no name")
    with pytest.raises(ev.BrokerError, match="REDIS_URL"):
        async with ev.Client("", name="billing"):
            pass


async def test_health_of_a_client_that_waits_through_an_outage(
    settings: dict[str, Any], url: str, raw: redis.Redis, namespace: str
) -> None:
    async def asked() -> bool:
        return bool(await raw.xlen(Keys(namespace).stream("requests")))

    async with fault_proxy(url) as proxy, ev.Client(**settings | {"url": proxy.url}) as client:
        assert client.health() == ev.ClientHealth(True, None, 0, 0.0, 0, 0, ())
        asking = asyncio.create_task(client.request(QuoteRequested(number=-1), QuoteGiven, timeout_s=LONG_S))
        await eventually(asked)
        await eventually(lambda: client.health().queued == 0)
        assert client.health() == ev.ClientHealth(True, None, 0, 0.0, 0, 1, ("quotes",))
        proxy.refusing = True
        proxy.cut()
        publishing = asyncio.create_task(client.publish(QuoteGiven(number=1)))
        await eventually(lambda: client.health().waiting_s > 0.0 and not client.health().connected)
        seen = client.health()
        assert seen.queued == 1 and seen.outstanding == 1 and seen.problem and "Redis" in seen.problem
        proxy.refusing = False
        await publishing
        await eventually(lambda: client.health().connected)
        assert client.health().queued == 0 and client.health().waiting_s == 0.0
        asking.cancel()
        await asyncio.wait({asking})
        assert client.health().outstanding == 0


async def test_fire_and_forget_through_an_outage(
    settings: dict[str, Any], url: str, raw: redis.Redis, namespace: str, tmp_path: Path
) -> None:
    """With a spool, a notification is asked for while the server is away, and is there once when it is back."""
    spool = ev.Spool(tmp_path / "spool")
    settings |= {"outage_policy": spool}
    async with fault_proxy(url) as proxy, ev.Client(**settings | {"url": proxy.url}) as client:
        proxy.refusing = True
        proxy.cut()
        ids = [await client.publish_notification_requested(**ASK) for _ in range(3)]  # type: ignore[arg-type]
        assert client.health().spooled_bytes > 0 and not client.health().connected
        proxy.refusing = False
        await eventually(lambda: client.health().spooled_bytes == 0)
        assert client.health().connected
    entries: Any = await raw.xrange(Keys(namespace).stream("notifications"))
    assert [id_ for id_ in ids if any(id_.encode() in fields[b"event"] for _, fields in entries)] == ids
    assert len(entries) == 3


async def test_with_fail_a_publish_of_a_client_raises_at_once(settings: dict[str, Any], url: str) -> None:
    settings |= {"outage_policy": ev.Fail()}
    async with fault_proxy(url) as proxy, ev.Client(**settings | {"url": proxy.url}) as client:
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(ev.BrokerUnavailable):
            await client.publish(QuoteGiven(number=1))
        proxy.refusing = False
        await client.publish(QuoteGiven(number=1))
        assert client.health().connected
