"""promtool, where it is here, and what programs and the exporter really tell Prometheus."""

import subprocess

import pytest
import redis.asyncio as redis

from eventlib.broker.surveying import SurveyLimits, Surveyor
from eventlib.operate.exporter import Exporter
from eventlib.testing.waiting import eventually
from tests.probing import get
from tests.programs import program
from tests.shop import Connect, new_app, nothing_left, orders

PROMTOOL = program("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here: `make test` unpacks it, or Debian")


def promtool(*arguments: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
    """What promtool says."""
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], input=text, capture_output=True, text=True, check=False, timeout=120)


async def scraped(connect: Connect, url: str, raw: redis.Redis, namespace: str) -> str:
    """What a program with a group and a queue, and an exporter that looks at its streams, tell Prometheus."""
    app, handled = new_app()

    @app.task(queue="mail")
    async def send() -> None: ...

    async with connect(app) as bus, bus.running():
        served = bus.serve_health(0)
        await bus.publish_many(orders(1, 2))
        await eventually(lambda: len(handled) == 2)
        await eventually(lambda: nothing_left(bus))
        told = (await get(served.url, "/metrics")).text
        keys = tuple([key.decode() async for key in raw.scan_iter(f"{namespace}:*", _type="stream")])
        surveyor = Surveyor(url, SurveyLimits(1000.0, keys=keys))
        exporter = Exporter(surveyor, 1.0)
        await exporter.look()
        await surveyor.close()
    return told + exporter.metrics()
