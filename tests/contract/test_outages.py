"""Every way in which a real server does not serve for a while is an outage: for each outage policy, and for consumers.

Each test brings one about with a server of its own, and ends it. Meanwhile a publish waits, fails or is spooled, as its
policy says. Afterwards the consumers go on, and each event that was accepted is handled.
"""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker.connection import UNAVAILABLE
from eventlib.testing import PrivateServer, eventually, fault_proxy, free_port, private_server
from tests.contract.test_server_trouble import Shop, follow, in_step
from tests.shop import OrderPlaced, orders

pytestmark = pytest.mark.every_server  # what a server says and allows is its own


def settings(**changes: tuple[str, str]) -> "Begin":
    """Settings that are changed for the length of the outage: what each is during it, and what after it."""

    @asynccontextmanager
    async def outage(server: PrivateServer, admin: redis.Redis) -> AsyncIterator[None]:
        for name, (during, _) in changes.items():
            await admin.config_set(name.replace("_", "-"), during)
        yield
        for name, (_, after) in changes.items():
            await admin.config_set(name.replace("_", "-"), after)

    return outage


@asynccontextmanager
async def no_snapshot(server: PrivateServer, admin: redis.Redis) -> AsyncIterator[None]:
    """A snapshot cannot take the place of the last one, because a folder has its name."""
    in_the_way = server.directory / "dump.rdb"
    in_the_way.mkdir()
    await admin.bgsave()
    await eventually(lambda: info_is(admin, "rdb_last_bgsave_status", "err"))
    yield
    in_the_way.rmdir()
    await admin.bgsave()
    await eventually(lambda: info_is(admin, "rdb_last_bgsave_status", "ok"))


@asynccontextmanager
async def no_space(server: PrivateServer, admin: redis.Redis) -> AsyncIterator[None]:
    """The append-only file cannot grow. A limit on the size of files acts as a full disk and needs no root."""
    written = max(file.stat().st_size for file in server.directory.glob("appendonlydir/*"))
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (written, resource.RLIM_INFINITY))
    with suppress(redis.ResponseError):  # what a consumer has just written may have met the limit first
        await admin.set("more", "x" * 100)
    await eventually(lambda: info_is(admin, "aof_last_write_status", "err"))
    yield
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await eventually(lambda: info_is(admin, "aof_last_write_status", "ok"))


@asynccontextmanager
async def loading(server: PrivateServer, admin: redis.Redis) -> AsyncIterator[None]:
    """A server that was killed reads its data again. It takes its time with each key, until it is told otherwise."""
    await admin.mset({f"large-{number}": "x" * 3000 for number in range(1000)})
    await admin.save()
    await admin.connection_pool.disconnect()
    server.kill()
    server.start()
    yield
    await admin.config_set("key-load-delay", 0)


@asynccontextmanager
async def no_primary(server: PrivateServer, admin: redis.Redis) -> AsyncIterator[None]:
    """It has become a replica of a primary that is not there, and serves no stale data."""
    await admin.config_set("replica-serve-stale-data", "no")
    await follow(admin, "127.0.0.1", free_port())
    yield
    await follow(admin, "NO", "ONE")


@asynccontextmanager
async def failed_over(server: PrivateServer, admin: redis.Redis) -> AsyncIterator[None]:
    """Another server has taken its place, and gives it back."""
    with private_server(binary=server.binary, port=0) as second:
        async with redis.Redis.from_url(second.url) as successor:
            here, there = urlsplit(server.url), urlsplit(second.url)
            for each in (admin, successor):
                await each.config_set("repl-diskless-sync-delay", 0)
            await follow(successor, here.hostname, here.port)
            await eventually(lambda: in_step(successor, admin))
            await fail_over(admin, there.hostname, there.port)
            yield
            await eventually(lambda: in_step(admin, successor))
            await fail_over(successor, here.hostname, here.port)
            await eventually(lambda: is_primary(admin))


async def fail_over(primary: redis.Redis, *to: str | int | None) -> None:
    await primary.execute_command("FAILOVER", "TO", *map(str, to))  # type: ignore[no-untyped-call]  # redis-py
    await eventually(lambda: is_replica(primary))


@asynccontextmanager
async def busy(server: PrivateServer, admin: redis.Redis) -> AsyncIterator[None]:
    """Another program's script runs for ever, until it is killed."""
    await admin.config_set("busy-reply-threshold", 1)
    async with redis.Redis.from_url(server.url) as other:
        running = asyncio.create_task(endless(other))
        await eventually(lambda: is_busy(admin))
        yield
        await admin.script_kill()
        await running


async def endless(client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="killed"):
        await client.execute_command("EVAL", "while true do end", 0)  # type: ignore[no-untyped-call]  # redis-py


Begin = Callable[[PrivateServer, redis.Redis], AbstractAsyncContextManager[None]]


@dataclass
class Outage:
    """A kind of outage: the code of the server's answer, what begins it, and the options that its server needs."""

    code: str
    begin: Begin
    options: tuple[str, ...] = ("--appendfsync", "always")


SNAPSHOTS = ("--appendonly", "no", "--save", "3600 100000")
SLOW_TO_LOAD = (
    *("--appendonly", "no", "--save", "", "--rdbcompression", "no"),
    *("--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024"),  # microseconds, bytes
)
OUTAGES = {
    "too few replicas": Outage("NOREPLICAS", settings(min_replicas_to_write=("1", "0"))),
    "no memory": Outage("OOM", settings(maxmemory=("1", "0"))),
    "no snapshot": Outage("MISCONF", no_snapshot, SNAPSHOTS),
    "no space for the append-only file": Outage("MISCONF", no_space, ("--appendfsync", "everysec")),
    "loading": Outage("LOADING", loading, SLOW_TO_LOAD),
    "no primary": Outage("MASTERDOWN", no_primary),
    "failover": Outage("READONLY", failed_over),
    "busy": Outage("BUSY", busy),
}


def test_every_answer_that_counts_as_an_outage_is_brought_about() -> None:
    """A read is what can be unblocked, see below. The answers of a cluster are in test_refusals.py."""
    others = {"UNBLOCKED", "CLUSTERDOWN", "TRYAGAIN"}
    assert {outage.code for outage in OUTAGES.values()} | others == set(UNAVAILABLE)


async def info_is(admin: redis.Redis, name: str, value: str) -> bool:
    return bool((await admin.info("persistence"))[name] == value)


async def is_primary(server: redis.Redis) -> bool:
    return bool((await server.info("replication"))["role"] == "master")


async def is_replica(server: redis.Redis) -> bool:
    return not await is_primary(server)


async def is_busy(server: redis.Redis) -> bool:
    try:
        return not await server.ping()
    except redis.ResponseError:
        return True


@pytest.fixture
def program(binary: Path, tmp_path: Path) -> Path:
    """The server program, started with the signal ignored that would end it where a file reaches its size limit."""
    script = tmp_path / "redis-server"
    script.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec '{binary}' \"$@\"\n")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("kind", OUTAGES)
async def test_an_outage_is_met_as_the_policy_says_and_nothing_is_lost(
    program: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    outage = OUTAGES[kind]
    with private_server(*outage.options, binary=program, port=0) as server:
        shop = Shop(server.url)
        async with (
            redis.Redis.from_url(server.url) as admin,
            shop.open() as waiting,
            ev.connect(shop.app, server.url, outage_policy=ev.Fail()) as failing,
            ev.connect(shop.app, server.url, outage_policy=ev.Spool(tmp_path / "spool")) as spooling,
        ):
            await waiting.publish_many(orders(1, 101))
            await eventually(lambda: len(shop.started) == 2)
            async with outage.begin(server, admin):
                publishing = asyncio.create_task(waiting.publish(OrderPlaced(number=2)))
                await eventually(lambda: refused(failing, outage.code))
                await spooling.publish(OrderPlaced(number=3))
                shop.gate.set()  # a handler succeeds and one fails: neither outcome can be stored now
                await eventually(lambda: "publishing to orders waits for the server" in caplog.text)
                assert "publishing to orders goes to" in caplog.text
                assert not publishing.done()
            await publishing
            await eventually(lambda: accepted(failing, 4))
            await shop.settles(waiting, [1, 2, 3, 4, 101])
            assert await admin.xlen("ev:{orders}:events") == 5


async def refused(bus: ev.Bus, code: str) -> bool:
    """Whether the server refuses a publish with this code. A connection that was cut is found first."""
    with pytest.raises(ev.BrokerUnavailable) as caught:
        await bus.publish(OrderPlaced(number=0))
    return code in str(caught.value)


async def accepted(bus: ev.Bus, number: int) -> bool:
    try:
        return bool(await bus.publish(OrderPlaced(number=number)))
    except ev.BrokerUnavailable:
        return False


async def test_consumers_whose_reads_are_unblocked_with_an_error_read_on(binary: Path) -> None:
    """An operator does this, and so does a server whose role changes."""
    with private_server(binary=binary) as server:
        shop = Shop(server.url)
        shop.gate.set()
        async with redis.Redis.from_url(server.url) as admin, shop.open() as bus:
            for number in range(3):
                await eventually(lambda: unblocked(admin))
                await bus.publish(OrderPlaced(number=number))
                await eventually(lambda: number in shop.handled)  # noqa: B023 - awaited in the loop
            await shop.settles(bus, [0, 1, 2])


async def unblocked(admin: redis.Redis) -> bool:
    """End the consumer's blocking read with an error. False if none blocks."""
    blocked = [client["id"] for client in await admin.client_list() if client["cmd"] == "xreadgroup"]
    return bool(blocked) and bool(await admin.client_unblock(int(blocked[0]), error=True))


async def test_a_publish_to_a_server_that_resets_every_connection_soon_needs_few_tries(
    binary: Path, waits_s: list[float]
) -> None:
    """Each connection lives for one publish, and every other one is refused. No call waits for those before it."""
    with private_server(binary=binary) as server:
        async with fault_proxy(server.url) as faulty, ev.connect(ev.App("shop"), faulty.url) as bus:
            for number in range(12):
                refused_before = faulty.refused
                waits_s.clear()
                faulty.refusing = bool(number % 2)
                faulty.cut()
                publishing = asyncio.create_task(bus.publish(OrderPlaced(number=number)))
                if faulty.refusing:
                    await eventually(lambda: faulty.refused > refused_before)  # noqa: B023 - awaited in the loop
                    faulty.refusing = False
                await publishing
                assert len(waits_s) <= 3 and sum(waits_s) <= 1.0  # the cut, the refusal, and one that came meanwhile
        async with redis.Redis.from_url(server.url) as admin:
            assert await admin.xlen("ev:{orders}:events") == 12
