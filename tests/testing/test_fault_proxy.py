"""What each fault of the proxy does to a plain client, without eventlib."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from eventlib.testing import FaultProxy, eventually, fault_proxy, free_port, proxy_url


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(url) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[redis.Redis]:
    """A client of the proxy that repeats nothing."""
    async with redis.Redis.from_url(proxy.url, retry=Retry(NoBackoff(), 0), socket_timeout=30.0) as client:
        yield client


async def test_it_passes_everything_on(client: redis.Redis, proxy: FaultProxy, namespace: str) -> None:
    large = b"x" * 1_000_000
    await client.set(f"{namespace}:large", large)
    assert await client.get(f"{namespace}:large") == large
    assert (proxy.lost, proxy.refused) == (0, 0)


async def test_a_reply_is_lost_after_the_request_was_carried_out(
    client: redis.Redis, proxy: FaultProxy, raw: redis.Redis, namespace: str
) -> None:
    proxy.lose_reply_to(b"second")
    await client.rpush(f"{namespace}:list", "first")
    with pytest.raises(redis.ConnectionError):
        await client.rpush(f"{namespace}:list", "second")
    await client.rpush(f"{namespace}:list", "second")  # only one reply is lost
    assert await raw.lrange(f"{namespace}:list", 0, -1) == [b"first", b"second", b"second"]
    assert proxy.lost == 1


async def test_a_request_in_pieces_is_recognised(proxy: FaultProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.lose_reply_to(b"PING lost")
    for piece in (b"PING l", b"ost\r\n"):
        writer.write(piece)
        await asyncio.sleep(0.05)  # so that the pieces arrive as two
    assert await reader.read() == b"" and proxy.lost == 1
    writer.close()


async def test_cut_connections_can_be_opened_again(client: redis.Redis, proxy: FaultProxy) -> None:
    await client.ping()
    proxy.cut()
    with pytest.raises(redis.ConnectionError):
        await client.ping()
    assert await client.ping()


async def test_refusing_closes_new_connections_and_keeps_open_ones(client: redis.Redis, proxy: FaultProxy) -> None:
    await client.ping()
    proxy.refusing = True
    assert await client.ping()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await reader.read() == b"" and proxy.refused == len(proxy.refused_at) == 1
    writer.close()


async def test_a_swallowed_reply_never_comes_late(proxy: FaultProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.swallowing = True
    writer.write(b"ECHO swallowed\r\n")
    await eventually(lambda: proxy.swallowed_bytes)
    proxy.swallowing = False
    writer.write(b"ECHO after\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    writer.close()


async def test_no_connection_stays_open_after_the_block(url: str) -> None:
    async with fault_proxy(url) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"PING\r\n")
        assert await reader.readline() == b"+PONG\r\n"
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)


async def test_the_proxy_closes_a_connection_if_there_is_no_server() -> None:
    async with fault_proxy(f"redis://127.0.0.1:{free_port()}/0") as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await reader.read() == b""
        writer.close()
        await eventually(lambda: not proxy._connections)


# A network that is slow, narrow or silent


async def test_a_delay_is_added_each_way_and_keeps_the_order(client: redis.Redis, proxy: FaultProxy) -> None:
    proxy.delay_s = 0.05
    loop = asyncio.get_running_loop()
    asked_s = loop.time()
    replies = list(await asyncio.gather(client.echo("first"), client.echo("second")))
    assert replies == [b"first", b"second"] and loop.time() - asked_s >= 0.1


async def test_what_a_silent_network_holds_is_passed_on_afterwards(proxy: FaultProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.holding = True
    writer.write(b"ECHO held\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    assert proxy.holding
    proxy.holding = False
    assert await reader.readline() == b"$4\r\n" and await reader.readline() == b"held\r\n"
    writer.close()


async def test_a_narrow_network_takes_time_for_bytes(client: redis.Redis, proxy: FaultProxy, namespace: str) -> None:
    proxy.bytes_per_s = 100_000
    loop = asyncio.get_running_loop()
    asked_s = loop.time()
    await client.set(f"{namespace}:large", b"x" * 15_000)
    assert loop.time() - asked_s >= 0.15


async def test_a_narrow_network_lets_bytes_trickle_in(client: redis.Redis, proxy: FaultProxy, namespace: str) -> None:
    """What takes longer than a client waits for a byte comes all the same, a few bytes at a time."""
    await client.set(f"{namespace}:large", b"x" * 15_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.bytes_per_s = 100_000
    writer.write(f"GET {namespace}:large\r\n".encode())
    pieces = list[int]()
    while sum(pieces) < 15_000:
        pieces.append(len(await reader.read(65_536)))
    assert max(pieces) <= 10_000 and len(pieces) >= 2
    writer.close()


async def test_a_connection_that_is_cut_drops_what_is_on_its_way(proxy: FaultProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.delay_s = 60.0
    writer.write(b"PING\r\n")
    await eventually(lambda: proxy._connections)
    proxy.cut()
    assert await reader.read() == b""
    writer.close()


async def test_a_proxy_on_a_socket_has_the_servers_user_and_database(url: str, tmp_path: Path, namespace: str) -> None:
    other = url + ("?db=3" if url.startswith("unix:") else "")
    async with fault_proxy(other, tmp_path / "proxy.sock") as proxy, redis.Redis.from_url(proxy.url) as client:
        assert (await client.client_info())["db"] == (3 if url.startswith("unix:") else 0)


@pytest.mark.parametrize(
    ("upstream", "place", "found"),
    [
        ("redis://host:6379/2", 7000, "redis://127.0.0.1:7000/2"),
        ("redis://u:p%40@host", 7000, "redis://u:p%40@127.0.0.1:7000/0"),
        ("redis://:pw@host:1/1?client_name=a", "/tmp/p.sock", "unix://:pw@/tmp/p.sock?db=1&client_name=a"),
        ("unix://:pw@/run/redis.sock?db=4", 7000, "redis://:pw@127.0.0.1:7000/4"),
        ("unix:///run/redis.sock", "/tmp/p.sock", "unix:///tmp/p.sock?db=0"),
    ],
)
def test_the_url_through_a_proxy(upstream: str, place: int | str, found: str) -> None:
    assert proxy_url(upstream, place) == found
