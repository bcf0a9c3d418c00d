"""Connecting works, or says what is wrong in a typed error that never shows the password."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from importlib.metadata import Distribution
from pathlib import Path

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker import connections
from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.operate import trimming
from eventlib.testing import free_port, private_server
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually
from tests.reading import read, read_as
from tests.shop import Connect, OrderPlaced, new_app

pytestmark = pytest.mark.every_server  # what a server says and allows is its own

SECRET = "s3cr3t"


async def refusal(url: str, kind: type[ev.BrokerError] = ev.BrokerError) -> ev.BrokerError:
    """The error that connecting raises. Neither the error nor its traceback may show the password."""
    with pytest.raises(kind) as caught:
        async with ev.connect(ev.App("shop"), url):
            pass
    shown = [str(caught.value), repr(caught.value), *map(str, vars(caught.value).values())]
    assert not [text for text in shown if SECRET in text]
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return caught.value


async def test_the_error_names_the_server(connect: Connect, raw: redis.Redis) -> None:
    info = await raw.info("server")
    async with connect(ev.App("shop")) as bus:
        product, version = bus.server.product, bus.server.version
    assert product == ("Valkey" if "valkey_version" in info else "Redis")
    assert version == info.get("valkey_version", info["redis_version"])


async def test_a_new_connection_reads_nothing_of_installed_packages(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py looks its own version up for each connection, unless it is told that no name is to be sent."""
    looked_up = list[str]()
    monkeypatch.setattr(Distribution, "from_name", looked_up.append)
    async with connect(ev.App("shop")) as bus:
        await bus.publish(OrderPlaced(number=1))
    assert not looked_up


async def test_a_text_that_is_no_url_is_shown_as_it_was_written() -> None:
    assert (await refusal("127.0.0.1:6379")).where == "127.0.0.1:6379"


async def test_a_port_on_which_no_server_listens() -> None:
    error = await refusal(f"redis://:{SECRET}@127.0.0.1:{free_port()}/0", ev.BrokerUnavailable)
    assert "127.0.0.1" in error.where and "running" in error.problem


async def test_a_unix_socket_that_does_not_exist(tmp_path: Path) -> None:
    await refusal(f"unix://{tmp_path}/redis.sock", ev.BrokerUnavailable)


@pytest.mark.parametrize(
    "url",
    [
        f"redis:/:{SECRET}@localhost:6379/0",
        f"redis//:{SECRET}@localhost:6379/0",
        f"http://:{SECRET}@localhost:6379/0",
        f"localhost:6379?password={SECRET}",
        f"redis://:{SECRET}@localhost:port/0",
        f"redis://:{SECRET}@localhost:99999/0",
        f"redis://:{SECRET}@[::1:6379/0",
        f"redis://:{SECRET}/2@localhost:6379/0",
        f"redis://:a/{SECRET}@localhost:6379/0",
        f"redis://:{SECRET}#2@localhost:6379/0",
        f"redis://:a#{SECRET}@localhost:6379/0",
        f"redis://:a?{SECRET}@localhost:6379/0",
    ],
)
async def test_a_url_with_a_mistake(url: str) -> None:
    await refusal(url)


async def test_no_url_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(ev.BrokerError, match="REDIS_URL"):
        async with ev.connect(ev.App("shop")):
            pass


async def test_the_url_is_taken_from_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    async with ev.connect(ev.App("shop")) as bus:
        assert bus.server.version


async def test_a_bad_namespace_raises_invalid_argument(url: str) -> None:
    with pytest.raises(ev.InvalidDeclaration):
        async with ev.connect(ev.App("shop"), url, namespace="{a}"):
            pass


async def test_a_wrong_or_missing_password_is_refused(binary: Path) -> None:
    with private_server("--requirepass", SECRET, binary=binary, port=0) as server:
        host = server.url.removeprefix("redis://")
        assert "password" in (await refusal(server.url, ev.AccessDenied)).problem
        await refusal(f"redis://:{SECRET}-but-wrong@{host}", ev.AccessDenied)
        await refusal(f"redis://unknown:{SECRET}@{host}", ev.AccessDenied)
        async with ev.connect(ev.App("shop"), f"redis://:{SECRET}@{host}") as bus:
            assert await bus.publish(OrderPlaced(number=1))


async def test_a_wrong_or_missing_password_is_refused_on_a_unix_socket(binary: Path) -> None:
    with private_server("--requirepass", SECRET, binary=binary) as server:
        path = server.url.removeprefix("unix://")
        await refusal(server.url, ev.AccessDenied)
        await refusal(f"unix://:{SECRET}-but-wrong@{path}", ev.AccessDenied)
        async with ev.connect(ev.App("shop"), f"unix://:{SECRET}@{path}") as bus:
            assert await bus.publish(OrderPlaced(number=1))


async def test_a_user_without_permission(binary: Path) -> None:
    with private_server(binary=binary, port=0) as server:
        async with redis.Redis.from_url(server.url) as admin:
            limited = server.url.replace("redis://", f"redis://limited:{SECRET}@")
            await allow_limited(admin, "on", f">{SECRET}", "~*", "+@all", "-evalsha", "-eval", "-info")
            await refusal(limited, ev.AccessDenied)
            await allow_limited(admin, "+info")
            async with ev.connect(ev.App("shop"), limited) as bus:
                with pytest.raises(ev.AccessDenied):
                    await bus.publish(OrderPlaced(number=1))


async def allow_limited(admin: redis.Redis, *rules: str) -> None:
    await admin.execute_command("ACL", "SETUSER", "limited", *rules)  # type: ignore[no-untyped-call]  # redis-py


async def test_a_server_that_lacks_a_needed_command(binary: Path) -> None:
    with private_server("--rename-command", "XAUTOCLAIM", "", binary=binary) as server:
        error = await refusal(server.url, ev.MissingCommand)
    assert "XAUTOCLAIM" in error.problem and "7.0" in error.problem


async def test_a_publish_waits_until_a_failover_is_over(binary: Path) -> None:
    """A primary that has become a replica refuses writes until another primary takes over."""
    with private_server(binary=binary) as server:
        async with redis.Redis.from_url(server.url) as admin:
            async with ev.connect(ev.App("shop"), server.url) as bus, asyncio.TaskGroup() as tasks:
                await replicate(admin, "127.0.0.1", free_port())
                publishing = tasks.create_task(bus.publish(OrderPlaced(number=1)))
                await eventually(lambda: refused_writes(admin))
                await replicate(admin, "NO", "ONE")
            assert publishing.result()


async def test_a_replica_is_refused_at_once(binary: Path) -> None:
    """A replica takes no event. The message says which server to name instead."""
    with private_server(binary=binary) as server:
        async with redis.Redis.from_url(server.url) as admin:
            await replicate(admin, "127.0.0.1", free_port())
            assert "connect to the primary" in (await refusal(server.url)).problem


async def replicate(admin: redis.Redis, *whom: str | int) -> None:
    await admin.execute_command("REPLICAOF", *whom)  # type: ignore[no-untyped-call]  # redis-py


async def refused_writes(admin: redis.Redis) -> bool:
    return "errorstat_READONLY" in await admin.info("errorstats")


async def test_trap_24_a_consumer_that_lost_its_connection_receives_events_again(connect: Connect, url: str) -> None:
    app, handled = new_app()
    async with fault_proxy(url) as faulty, connect(app, url=faulty.url) as bus, bus.running():
        for number in range(5):
            await bus.publish(OrderPlaced(number=number))
            await eventually(lambda: number in handled)  # noqa: B023 - awaited in the loop
            faulty.refusing = True
            faulty.cut()
            await eventually(lambda: faulty.refused > number)  # noqa: B023 - awaited in the loop
            faulty.refusing = False
    assert handled == [0, 1, 2, 3, 4]


async def test_trap_21_a_blocking_read_may_last_longer_than_the_reply_timeout(
    broker: Broker, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REPLY_TIMEOUT_S", 1.0)
    await inspector.create()
    assert await read_as(broker, inspector.keys, "c1", 10, block_s=1.5) == []


async def test_trap_21_a_failed_read_is_not_repeated_by_the_layers_below(
    url: str, namespace: str, inspector: Inspector
) -> None:
    """The caller gets the error at once, and decides how long to wait before the next try."""
    await inspector.create()
    async with fault_proxy(url) as faulty:
        broker = Broker(faulty.url, namespace)
        reader = ConsumerCommands(broker, inspector.keys, "c1").reader(block_s=0.01)
        assert await read(reader, 10) == []
        faulty.refusing = True
        faulty.cut()
        for _ in range(2):  # the first may have been sent before the cut was seen
            before = faulty.refused
            with pytest.raises(ev.BrokerUnavailable):
                await read(reader, 10)
            assert faulty.refused <= before + 1
        await broker.close()


@pytest.mark.parametrize(("policy", "danger"), [("allkeys-lru", "whole streams"), ("volatile-ttl", "may double")])
async def test_trap_25_a_server_with_an_eviction_policy_is_warned_about_or_refused(
    binary: Path, caplog: pytest.LogCaptureFixture, policy: str, danger: str
) -> None:
    with private_server("--maxmemory", "100mb", "--maxmemory-policy", policy, binary=binary) as server:
        async with ev.connect(ev.App("shop"), server.url) as bus:
            assert await bus.publish(OrderPlaced(number=1))
        [warning] = [record.message for record in caplog.records]
        assert policy in warning and danger in warning and "noeviction" in warning
        with pytest.raises(ev.EvictingServer, match=policy):
            async with ev.connect(ev.App("shop"), server.url, refuse_eviction=True):
                pass
        assert len(caplog.records) == 1


async def test_trap_25_a_server_without_eviction_is_accepted_without_a_warning(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(ev.App("shop"), refuse_eviction=True):
        pass
    assert not caplog.records


async def test_trap_25_an_eviction_policy_that_is_changed_later_is_warned_about_once(
    binary: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "EVERY_S", 0.02)
    app, _ = new_app()
    with private_server(binary=binary) as server:
        async with redis.Redis.from_url(server.url) as admin, ev.connect(app, server.url) as bus, bus.running():
            await eventually(lambda: looks(bus, 2))
            assert not caplog.records
            for policy in ("allkeys-random", "noeviction", "allkeys-random"):
                await admin.config_set("maxmemory-policy", policy)
                await eventually(lambda: looks(bus, 3))
    assert [record.message.count("allkeys-random") for record in caplog.records] == [1, 1]


async def looks(bus: ev.Bus, count: int) -> bool:
    """Wait until trimming has checked the server so often."""
    key = bus._broker.keys.retention("orders")
    seen = {await bus._broker.ask("HGET", key, "ran")}
    while len(seen) <= count:
        seen.add(await bus._broker.ask("HGET", key, "ran"))
    return True


@pytest.mark.parametrize("use", ["backlog", "drained", "delete_all", "stream_health", "size"])
async def test_a_closed_bus_does_not_connect_again(connect: Connect, use: str) -> None:
    async with connect(ev.App("shop")) as bus:
        pass
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "backlog": lambda: bus.backlog("orders", "billing"),
        "drained": lambda: bus.drained("orders", "billing"),
        "delete_all": bus.delete_all,
        "stream_health": lambda: bus.stream_health("orders"),
        "size": lambda: bus.dead_letters("orders", "billing").size(),
    }
    with pytest.raises(ev.BusClosed):
        await calls[use]()
