"""A publish that must not wait goes to a file while Redis is away. The event arrives once, when it is back."""

import asyncio
from pathlib import Path

import eventlib as ev
from eventlib.catalog import Message, NotificationRequested
from eventlib.testing import fault_proxy
from tests.shop import Connect


async def test_a_notification_through_an_outage(connect: Connect, url: str, namespace: str, tmp_path: Path) -> None:
    app, notified = ev.App("signal"), asyncio.Queue[str]()

    @app.subscribe(NotificationRequested, group="signal")
    async def notify(event: NotificationRequested, _: ev.Delivery) -> None:
        await notified.put(event.notification_id)

    async with fault_proxy(url) as network, connect(app) as bus, bus.running():
        spool = ev.Spool(tmp_path / "billing.spool")
        async with ev.Client(network.url, name="billing", namespace=namespace, outage_policy=spool) as client:
            network.refusing = True
            network.cut()
            for id_ in ("n1", "n2"):
                await client.publish_notification_requested(
                    notification_id=id_,
                    user_id="u1",
                    message=Message(title="Paid", body="Thank you."),
                    channels=("email",),
                )
            assert not client.health().connected and client.health().spooled_bytes > 0

            network.refusing = False
            assert [await notified.get(), await notified.get()] == ["n1", "n2"]
        assert notified.empty()
