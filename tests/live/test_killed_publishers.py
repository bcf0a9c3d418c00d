"""Publishers and servers that are killed: every acknowledged event is in the stream, once and in order."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.testing import private_server
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.contract.test_publishing import numbers
from tests.live.conftest import TOP
from tests.shop import Connect, orders


class KillablePublisher:
    """Starts publisher processes, one at a time, and reads which of their orders were acknowledged."""

    def __init__(self, url: str, namespace: str, directory: Path) -> None:
        self.url = url
        self.spool = directory / "spool"
        self._started = 0
        self._acknowledged = directory / "acknowledged"
        command = [sys.executable, "-m", "tests.live.publisher", namespace, str(self._acknowledged), str(self.spool)]
        pipe = subprocess.PIPE
        self._forks = subprocess.Popen(command, cwd=TOP, stdin=pipe, stdout=pipe, text=True, bufsize=1)

    def start(self) -> None:
        """Its numbers are far above those of the process before, which may have published more than it noted."""
        self._started += 1
        self._order(f"start {self.url} {100_000 * self._started}")

    def kill(self) -> None:
        self._order("kill")

    def end(self) -> None:
        """Kill it, and start no more."""
        self._forks.communicate()

    def _order(self, order: str) -> None:
        assert self._forks.stdin is not None and self._forks.stdout is not None
        self._forks.stdin.write(f"{order}\n")
        assert self._forks.stdout.readline() == "\n"

    def acknowledged(self) -> list[int]:
        return [int(line) for line in self._acknowledged.read_text().split()] if self._acknowledged.exists() else []

    async def acknowledges(self, more: int) -> None:
        """Wait until so many more orders were acknowledged."""
        enough = len(self.acknowledged()) + more
        await eventually(lambda: len(self.acknowledged()) >= enough)


@pytest.fixture
def publisher(url: str, namespace: str, tmp_path: Path) -> Iterator[KillablePublisher]:
    made = KillablePublisher(url, namespace, tmp_path)
    yield made
    made.end()


def check(acknowledged: list[int], there: list[int]) -> None:
    assert set(acknowledged) <= set(there), "an acknowledged event is lost"
    assert len(set(there)) == len(there), "an event is there twice"
    assert there == sorted(there), "events are out of order"


async def test_trap_22_no_event_is_lost_or_doubled_when_a_publisher_is_killed_while_it_spools_or_replays(
    connect: Connect, inspector: Inspector, url: str, publisher: KillablePublisher
) -> None:
    async with fault_proxy(url) as faulty:
        publisher.url = faulty.url
        for lost in range(1, 4):
            faulty.refusing = False
            publisher.start()
            await publisher.acknowledges(20)
            faulty.refusing = True
            faulty.cut()
            await publisher.acknowledges(60)  # into the file
            publisher.kill()
            there = len(await inspector.events())
            faulty.refusing = False
            faulty.lose_reply_to(b'{"specversion"')
            publisher.start()  # replays
            await eventually(lambda: more_than(inspector, there))  # noqa: B023 - awaited in the loop
            await eventually(lambda: faulty.lost == lost)  # noqa: B023 - as above
            publisher.kill()
        async with connect(ev.App("shop"), outage_policy=ev.Spool(publisher.spool)) as bus:
            await eventually(lambda: bus._publisher._route._file.empty)  # type: ignore[attr-defined]
    check(publisher.acknowledged(), await numbers(inspector))


async def more_than(inspector: Inspector, count: int) -> bool:
    return len(await inspector.events()) > count


async def test_the_spool_of_a_live_process_cannot_be_opened_by_another_process(
    connect: Connect, publisher: KillablePublisher
) -> None:
    publisher.start()
    await publisher.acknowledges(1)
    with pytest.raises(ev.SpoolUnusable, match="in use"):
        async with connect(ev.App("shop"), outage_policy=ev.Spool(publisher.spool)):
            pass
    publisher.kill()
    async with connect(ev.App("shop"), outage_policy=ev.Spool(publisher.spool)):  # a killed process does not hold it
        pass


@pytest.mark.parametrize("spooled", [False, True])
async def test_trap_22_no_event_is_lost_or_doubled_when_the_server_is_killed_while_many_publish(
    binary: Path, tmp_path: Path, spooled: bool
) -> None:
    """The server acknowledges a batch when it is on disk."""
    policy = ev.Spool(tmp_path / "spool") if spooled else ev.Wait(20.0)
    acknowledged, enough = list[int](), asyncio.Event()

    async def publish(bus: ev.Bus, first: int) -> None:
        for number in range(first, 10**9, 10):
            await bus.publish_many(orders(number))
            acknowledged.append(number)
            if enough.is_set():
                return

    with private_server("--appendfsync", "always", binary=binary) as server:
        async with ev.connect(ev.App("shop"), server.url, outage_policy=policy) as bus, asyncio.TaskGroup() as tasks:
            for first in range(10):
                tasks.create_task(publish(bus, first))
            for _ in range(3):
                before = len(acknowledged)
                await eventually(lambda: len(acknowledged) > before + 200)  # noqa: B023 - awaited in the loop
                server.kill()
                server.start()
            enough.set()
        async with ev.connect(ev.App("shop"), server.url, outage_policy=policy) as bus:
            if spooled:
                await eventually(lambda: bus._publisher._route._file.empty)  # type: ignore[attr-defined]
            async with redis.Redis.from_url(server.url) as raw:
                there = await numbers(Inspector(raw, bus._broker.keys.group("orders", "billing")))
    assert set(acknowledged) <= set(there)
    assert len(set(there)) == len(there)
    assert all([n for n in there if n % 10 == k] == sorted(n for n in there if n % 10 == k) for k in range(10))
