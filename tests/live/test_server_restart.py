"""The server is killed and started again on its append-only file: every acknowledged event is handled."""

import asyncio
from pathlib import Path

import eventlib as ev
from eventlib.testing import PrivateServer, private_server
from eventlib.testing.waiting import eventually
from tests.live.conftest import ConsumerProcesses
from tests.shop import OrderPlaced, nothing_left


async def publish_steadily(bus: ev.Bus, acknowledged: list[int], enough: asyncio.Event) -> None:
    """One order after the other; each is noted once the server has acknowledged it."""
    for number in range(100_000):
        await bus.publish(OrderPlaced(number=number))
        acknowledged.append(number)
        await asyncio.sleep(0.002)
        if enough.is_set():
            return


async def restart_in_between(server: PrivateServer, acknowledged: list[int], processes: ConsumerProcesses) -> None:
    """Kill while orders are being published and handled, and wait until both go on."""
    published, done = len(acknowledged), len(processes.noted("done"))
    await eventually(lambda: len(acknowledged) > published + 30 and len(processes.noted("done")) > done + 10)
    server.kill()
    server.start()


async def test_every_acknowledged_event_is_handled(binary: Path, processes: ConsumerProcesses) -> None:
    acknowledged, enough = list[int](), asyncio.Event()
    # With the default, everysec, the server may acknowledge what it writes only up to two seconds later.
    strict = ("--appendfsync", "always")
    with private_server(*strict, binary=binary) as server:
        async with ev.connect(ev.App("shop"), server.url) as bus:
            processes.start(server.url, "ev", work_s=0.01)
            publishing = asyncio.create_task(publish_steadily(bus, acknowledged, enough))
            for _ in range(3):
                await restart_in_between(server, acknowledged, processes)
            enough.set()
            await publishing
            await eventually(lambda: set(acknowledged) == set(processes.noted("done")))
            await eventually(lambda: nothing_left(bus))
            assert acknowledged == list(range(len(acknowledged)))
            entries = await bus._broker.ask("XLEN", bus._broker.keys.stream("orders"))
            assert entries == len(acknowledged)  # none twice, although publishes were repeated
