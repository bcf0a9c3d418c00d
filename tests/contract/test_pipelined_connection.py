"""Many requests share one connection. Each gets its own reply, even if others fail or are cancelled."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import hiredis
import pytest
import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection

import eventlib as ev
from eventlib.broker.connections import Broker
from eventlib.broker.pipelined import PipelinedConnection
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.waiting import eventually

pytestmark = pytest.mark.one_server  # what is tested is the client's own side


@asynccontextmanager
async def connecting_to(url: str) -> AsyncIterator[PipelinedConnection]:
    connection = PipelinedConnection(url)
    try:
        yield connection
    finally:
        await connection.close()


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """A server that accepts every login and then answers as `answer` does. Yields its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"SELECT")  # the database is the last thing a connection asks for...
            await reader.readuntil(b"1\r\n1\r\n")
            writer.write(b"+OK\r\n" * 3)  # ...after its library's name and version
            await answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/1"
    finally:
        server.close()
        await server.wait_closed()


def saying(what: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(what)
        await reader.read()

    return answer


async def test_many_requests_at_once_each_get_their_own_reply(url: str) -> None:
    async with connecting_to(url) as connection:
        said = [b"%d" % number for number in range(2000)]
        assert await asyncio.gather(*(connection.request(("ECHO", text), 5.0) for text in said)) == said


async def test_requests_share_one_connection(url: str, raw: redis.Redis, namespace: str) -> None:
    name = namespace.replace(":", "-")
    async with connecting_to(f"{url}?client_name={name}") as connection:
        await asyncio.gather(*(connection.request(("PING",), 5.0) for _ in range(100)))
        assert [client["name"] for client in await raw.client_list()].count(name) == 1


async def test_a_cancelled_request_does_not_affect_the_others(url: str, raw: redis.Redis) -> None:
    async with connecting_to(url) as connection:
        await connection.request(("PING",), 5.0)
        await raw.client_pause(timeout=200, all=True)
        calls = [connection.request(("ECHO", str(number)), 5.0) for number in range(9)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [end for end in ends if isinstance(end, bytes)] == [b"1", b"3", b"5", b"7"]


async def test_only_the_refused_request_fails(url: str, namespace: str) -> None:
    async with connecting_to(url) as connection:
        good, bad, other = await asyncio.gather(
            *(connection.request(command, 5.0) for command in [("ECHO", "a"), ("HGET", namespace), ("ECHO", "b")]),
            return_exceptions=True,
        )
    assert (good, other) == (b"a", b"b")
    assert type(bad) is ev.BrokerError
    assert "wrong number of arguments" in str(bad)


async def test_text_that_cannot_be_sent_is_refused(url: str) -> None:
    async with connecting_to(url) as connection:
        with pytest.raises(ev.BrokerError, match="UTF-8"):
            await connection.request(("ECHO", "\ud800"), 5.0)
        assert await connection.request(("ECHO", "\u00e4\0"), 5.0) == "\u00e4\0".encode()


async def test_a_broken_connection_fails_all_requests_and_the_next_one_connects_again(url: str) -> None:
    async with fault_proxy(url) as faulty, connecting_to(faulty.url) as connection:
        await connection.request(("PING",), 5.0)
        faulty.lose_reply_to(b"lose me")
        calls = [connection.request(("ECHO", "lose me"), 5.0) for _ in range(3)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [ev.BrokerUnavailable] * 3
        assert await connection.request(("ECHO", "again"), 5.0) == b"again"


async def test_trap_21_a_silent_server_fails_all_requests_and_the_next_one_connects_again(url: str) -> None:
    async with fault_proxy(url) as faulty, connecting_to(faulty.url) as connection:
        await connection.request(("PING",), 5.0)
        faulty.swallowing = True
        calls = [connection.request(("PING",), wait_s) for wait_s in (0.2, 60.0)]
        # The second could not be answered before the first one.
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [ev.BrokerUnavailable] * 2
        assert "has not answered" in str(ends[0])
        faulty.swallowing = False
        assert await connection.request(("PING",), 5.0) == b"PONG"


async def test_a_request_keeps_its_own_timeout_behind_one_with_a_longer_timeout() -> None:
    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"+PONG\r\n")
        await reader.read()

    async with answering(answer_one) as url, connecting_to(url) as connection:
        began = asyncio.get_running_loop().time()
        longer, shorter = (connection.request(("PING",), wait_s) for wait_s in (30.0, 0.2))
        assert await longer == b"PONG"
        with pytest.raises(ev.BrokerUnavailable, match="has not answered"):
            await shorter
        assert asyncio.get_running_loop().time() - began < 10.0


async def test_a_then_that_fails_fails_only_its_own_request(url: str) -> None:
    async with connecting_to(url) as connection:
        calls = (connection.request(("PING",), 5.0, lambda reply: 1 / 0), connection.request(("ECHO", "a"), 5.0, len))
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(ends[0], ZeroDivisionError)
    assert ends[1] == 1


async def test_a_reply_may_take_longer_to_arrive_than_the_server_may_be_silent(url: str) -> None:
    """As over a slow line. To ask again would take as long."""
    loop, parts = asyncio.get_running_loop(), asyncio.Queue[bytes]()
    late_s = 1.0  # more than uvloop's clock takes for a step

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        for _ in range(4):
            writer.write(await parts.get())

    async with answering(slowly) as slow, connecting_to(slow) as connection:
        open_connection = await connection._ensure_connected(5.0)
        open_connection._now = lambda: loop.time() + late_s
        call = connection.request(("PING",), 60.0)
        for part in (b"$4\r\n", b"xx", b"xx"):
            heard_at = open_connection._heard_at
            parts.put_nowait(part)
            await eventually(lambda: open_connection._heard_at > heard_at)  # noqa: B023 - awaited in the loop
            late_s += 40.0
            open_connection._check_silence()
        parts.put_nowait(b"\r\n")
        assert await call == b"xxxx"


@pytest.mark.parametrize("junk", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$-7\r\n", b"*1\r\nx"])
async def test_a_server_that_is_no_redis_is_named_as_the_problem(junk: bytes) -> None:
    async with answering(saying(junk)) as url, connecting_to(url) as connection:
        with pytest.raises(ev.BrokerUnavailable, match="Redis's protocol"):
            await connection.request(("PING",), 5.0)
        assert not connection.connected


async def test_a_reply_without_a_request_ends_the_connection() -> None:
    """Otherwise every later request would get the reply to another one."""
    async with answering(saying(b"+one\r\n+too many\r\n")) as url, connecting_to(url) as connection:
        assert await connection.request(("PING",), 5.0) == b"one"
        assert not connection.connected


async def test_a_connection_that_is_closed_right_after_the_login_is_not_used(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a proxy whose server cannot be reached. A request sent on it would never end."""
    read_response = AbstractConnection.read_response

    async def read_and_end(connection: AbstractConnection) -> object:
        reply: object = await read_response(connection)
        assert connection._reader is not None
        connection._reader.feed_eof()  # the protocol that takes over is not told of this end
        return reply

    monkeypatch.setattr(AbstractConnection, "read_response", read_and_end)
    async with connecting_to(url) as connection:
        with pytest.raises(ev.BrokerUnavailable, match="after the login"):
            await connection.request(("PING",), 5.0)


async def test_a_request_on_a_broken_connection_fails_at_once(url: str) -> None:
    async with connecting_to(url) as connection:
        await connection.request(("PING",), 5.0)
        open_connection = connection._open
        assert open_connection is not None
        open_connection._transport.abort()
        with pytest.raises(ev.BrokerUnavailable):
            await open_connection.send(hiredis.pack_command(("PING",)), 60.0)
        with pytest.raises(ev.BrokerUnavailable):
            await open_connection.send(hiredis.pack_command(("PING",)), 60.0)
        assert await connection.request(("PING",), 5.0) == b"PONG"


async def test_the_connection_is_opened_again_after_the_connecting_task_was_cancelled(url: str) -> None:
    """As by a program that cancels all of its tasks."""
    async with connecting_to(url) as connection:
        call = connection.request(("PING",), 5.0)
        await asyncio.sleep(0)
        assert connection._connecting is not None
        connection._connecting.cancel()
        with pytest.raises(ev.BrokerUnavailable, match="interrupted"):
            await call
        assert await connection.request(("PING",), 5.0) == b"PONG"


async def test_requests_that_wait_for_a_connection_wait_for_the_same_one(url: str) -> None:
    async with fault_proxy(url) as faulty, connecting_to(faulty.url) as connection:
        faulty.refusing = True
        ends = await asyncio.gather(*(connection.request(("PING",), 5.0) for _ in range(50)), return_exceptions=True)
        assert [type(end) for end in ends] == [ev.BrokerUnavailable] * 50
        assert faulty.refused == 1


async def test_a_request_that_is_cancelled_while_connecting_does_not_stop_the_others(url: str) -> None:
    async with connecting_to(url) as connection:
        first, second = (connection.request(("PING",), 5.0) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == b"PONG"
        assert first.cancelled()


async def test_a_failed_connect_whose_requests_were_cancelled_leaves_no_unhandled_error() -> None:
    noise = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = PipelinedConnection(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        call = connection.request(("PING",), 0.1)
        await asyncio.sleep(0)
        connecting = connection._connecting
        assert connecting is not None
        call.cancel()
        await asyncio.wait({connecting})
        del call, connecting
        await connection.close()
    gc.collect()
    assert noise == []


async def test_a_broker_that_is_cancelled_while_it_closes_leaves_no_connection(url: str, namespace: str) -> None:
    broker = Broker(url, namespace)
    connections = (broker._control, broker._bulk)
    for connection in connections:
        await connection.request(("PING",), 5.0)
    closing = asyncio.create_task(broker.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    assert not any(connection.connected for connection in connections)
    with pytest.raises(ev.BusClosed):
        broker.open_for_reading()
    assert all(connection._open._transport.is_closing() for connection in connections if connection._open)


async def test_closing_fails_requests_under_way(url: str) -> None:
    async with connecting_to(url) as connection:
        await connection.request(("PING",), 5.0)
        blocked = connection.request(("BLPOP", "nothing", 5), 10.0)
        await asyncio.sleep(0)
        await connection.close()
        with pytest.raises(ev.BrokerUnavailable, match="closed here"):
            await blocked
        with pytest.raises(ev.BusClosed):
            await connection.request(("PING",), 5.0)


async def test_closing_with_much_unsent_data_leaves_no_unhandled_error(url: str, unhandled_errors: list[str]) -> None:
    for _ in range(3):
        async with connecting_to(url) as connection:
            await connection.request(("PING",), 5.0)
            reply = connection.request(("ECHO", b"x" * 8_000_000), 5.0)
        with pytest.raises(ev.BrokerUnavailable):
            await reply
    await asyncio.sleep(0)  # asyncio calls connection_lost in a turn of its own
    assert unhandled_errors == []


async def test_closing_while_connecting_fails_the_request(url: str) -> None:
    async with fault_proxy(url) as faulty, connecting_to(faulty.url) as connection:
        faulty.swallowing = True
        asking = connection.request(("PING",), 60.0)
        await asyncio.sleep(0)
        await connection.close()
        with pytest.raises(ev.BusClosed):
            await asking
