"""One connection that many calls share: each gets its own reply, whatever becomes of the others."""

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
from eventlib.broker.commands import Broker
from eventlib.broker.pipelined import PipelinedConnection
from eventlib.testing.fault_proxy import fault_proxy
from eventlib.testing.waiting import eventually


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[PipelinedConnection]:
    link = PipelinedConnection(url)
    try:
        yield link
    finally:
        await link.close()


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """A server that logs everybody in and then answers as it is told; its URL."""

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


async def test_many_calls_at_once_each_get_their_own_reply(url: str) -> None:
    async with linked(url) as link:
        said = [b"%d" % number for number in range(2000)]
        assert await asyncio.gather(*(link.request(("ECHO", text), 5.0) for text in said)) == said


async def test_they_share_one_connection(url: str, raw: redis.Redis, namespace: str) -> None:
    name = namespace.replace(":", "-")
    async with linked(f"{url}?client_name={name}") as link:
        await asyncio.gather(*(link.request(("PING",), 5.0) for _ in range(100)))
        assert [client["name"] for client in await raw.client_list()].count(name) == 1


async def test_a_cancelled_call_disturbs_no_other(url: str, raw: redis.Redis) -> None:
    async with linked(url) as link:
        await link.request(("PING",), 5.0)
        await raw.client_pause(timeout=200, all=True)
        calls = [asyncio.ensure_future(link.request(("ECHO", str(number)), 5.0)) for number in range(9)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [end for end in ends if isinstance(end, bytes)] == [b"1", b"3", b"5", b"7"]


async def test_a_refusal_is_the_refused_calls_alone(url: str, namespace: str) -> None:
    async with linked(url) as link:
        good, bad, other = await asyncio.gather(
            *(link.request(command, 5.0) for command in [("ECHO", "a"), ("HGET", namespace), ("ECHO", "b")]),
            return_exceptions=True,
        )
    assert (good, other) == (b"a", b"b")
    assert type(bad) is ev.BrokerError
    assert "wrong number of arguments" in str(bad)


async def test_text_that_cannot_be_sent_is_refused_before_it_is(url: str) -> None:
    async with linked(url) as link:
        with pytest.raises(ev.BrokerError, match="UTF-8"):
            await link.request(("ECHO", "\ud800"), 5.0)
        assert await link.request(("ECHO", "\u00e4\0"), 5.0) == "\u00e4\0".encode()


async def test_when_it_breaks_all_hear_of_it_and_the_next_call_connects_anew(url: str) -> None:
    async with fault_proxy(url) as faulty, linked(faulty.url) as link:
        await link.request(("PING",), 5.0)
        faulty.lose_reply_to(b"lose me")
        calls = [asyncio.ensure_future(link.request(("ECHO", "lose me"), 5.0)) for _ in range(3)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [ev.BrokerUnavailable] * 3
        assert await link.request(("ECHO", "again"), 5.0) == b"again"


async def test_trap_21_silence_ends_every_call_and_the_next_connects_anew(url: str) -> None:
    async with fault_proxy(url) as faulty, linked(faulty.url) as link:
        await link.request(("PING",), 5.0)
        faulty.swallowing = True
        calls = [asyncio.ensure_future(link.request(("PING",), wait_s)) for wait_s in (0.2, 60.0)]
        ends = await asyncio.gather(*calls, return_exceptions=True)  # the second could not be answered before the first
        assert [type(end) for end in ends] == [ev.BrokerUnavailable] * 2
        assert "has not answered" in str(ends[0])
        faulty.swallowing = False
        assert await link.request(("PING",), 5.0) == b"PONG"


async def test_a_call_behind_a_patient_one_is_not_as_patient() -> None:
    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"+PONG\r\n")
        await reader.read()

    async with answering(answer_one) as url, linked(url) as link:
        began = asyncio.get_running_loop().time()
        patient, other = (asyncio.ensure_future(link.request(("PING",), wait_s)) for wait_s in (30.0, 0.2))
        assert await patient == b"PONG"
        with pytest.raises(ev.BrokerUnavailable, match="has not answered"):
            await other
        assert asyncio.get_running_loop().time() - began < 10.0


async def test_what_is_done_with_a_reply_may_fail_for_its_own_call_alone(url: str) -> None:
    async with linked(url) as link:
        calls = (link.request(("PING",), 5.0, lambda reply: 1 / 0), link.request(("ECHO", "a"), 5.0, len))
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(ends[0], ZeroDivisionError)
    assert ends[1] == 1


async def test_a_reply_that_takes_longer_than_a_silence_may_comes(url: str) -> None:
    """Over a slow line, that is: it is not asked for again, which would take as long."""
    loop, late_s, parts = asyncio.get_running_loop(), 0.0, asyncio.Queue[bytes]()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        for _ in range(4):
            writer.write(await parts.get())

    async with answering(slowly) as slow, linked(slow) as link:
        wire = await link._ensure_connected(5.0)
        wire._now = lambda: loop.time() + late_s
        call = asyncio.ensure_future(link.request(("PING",), 60.0))
        for part in (b"$4\r\n", b"xx", b"xx"):
            heard_at = wire._heard_at
            parts.put_nowait(part)
            await eventually(lambda: wire._heard_at > heard_at)  # noqa: B023 - awaited in the loop
            late_s += 40.0
            wire._check_silence()
        parts.put_nowait(b"\r\n")
        assert await call == b"xxxx"


@pytest.mark.parametrize("junk", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$-7\r\n", b"*1\r\nx"])
async def test_what_is_no_redis_is_told(junk: bytes) -> None:
    async with answering(saying(junk)) as url, linked(url) as link:
        with pytest.raises(ev.BrokerUnavailable, match="Redis's protocol"):
            await link.request(("PING",), 5.0)
        assert not link.connected


async def test_a_reply_that_nobody_asked_for_ends_the_connection() -> None:
    """Or everybody from there on would get another one's."""
    async with answering(saying(b"+one\r\n+too many\r\n")) as url, linked(url) as link:
        assert await link.request(("PING",), 5.0) == b"one"
        assert not link.connected


async def test_a_connection_that_ended_with_its_login_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a proxy's does whose server is away: nothing may be sent on it, for nobody would hear that it is gone."""
    connect = AbstractConnection.connect

    async def connect_and_end(connection: AbstractConnection) -> None:
        await connect(connection)  # type: ignore[no-untyped-call]  # redis-py
        assert connection._reader is not None
        connection._reader.feed_eof()  # the end was heard, and by nobody who takes over

    monkeypatch.setattr(AbstractConnection, "connect", connect_and_end)
    async with linked(url) as link:
        with pytest.raises(ev.BrokerUnavailable, match="after the login"):
            await link.request(("PING",), 5.0)


async def test_what_is_sent_on_a_broken_connection_fails_at_once(url: str) -> None:
    async with linked(url) as link:
        await link.request(("PING",), 5.0)
        wire = link._open
        assert wire is not None
        wire._transport.abort()
        with pytest.raises(ev.BrokerUnavailable):
            await wire.send(hiredis.pack_command(("PING",)), 60.0)
        with pytest.raises(ev.BrokerUnavailable):
            await wire.send(hiredis.pack_command(("PING",)), 60.0)
        assert await link.request(("PING",), 5.0) == b"PONG"


async def test_a_connecting_that_is_cancelled_before_it_begins_is_begun_anew(url: str) -> None:
    """As by a program that cancels all of its tasks."""
    async with linked(url) as link:
        call = asyncio.ensure_future(link.request(("PING",), 5.0))
        await asyncio.sleep(0)
        assert link._connecting is not None
        link._connecting.cancel()
        with pytest.raises(ev.BrokerUnavailable, match="interrupted"):
            await call
        assert await link.request(("PING",), 5.0) == b"PONG"


async def test_those_who_wait_for_the_connection_wait_for_one(url: str) -> None:
    async with fault_proxy(url) as faulty, linked(faulty.url) as link:
        faulty.refusing = True
        ends = await asyncio.gather(*(link.request(("PING",), 5.0) for _ in range(50)), return_exceptions=True)
        assert [type(end) for end in ends] == [ev.BrokerUnavailable] * 50
        assert faulty.refused == 1


async def test_one_that_is_cancelled_while_connecting_stops_no_other(url: str) -> None:
    async with linked(url) as link:
        first, second = (asyncio.ensure_future(link.request(("PING",), 5.0)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == b"PONG"
        assert first.cancelled()


async def test_nobody_has_to_hear_how_connecting_ended() -> None:
    noise = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        link = PipelinedConnection(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await link.request(("PING",), 0.1)
        connecting = link._connecting
        assert connecting is not None
        await asyncio.wait({connecting})
        del connecting
        await link.close()
    gc.collect()
    assert noise == []


async def test_a_broker_that_is_cancelled_while_it_closes_leaves_no_connection(url: str, namespace: str) -> None:
    broker = Broker(url, namespace)
    links = (broker._link, broker._bulk)
    for link in links:
        await link.request(("PING",), 5.0)
    closing = asyncio.create_task(broker.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    assert not any(link.connected for link in links)
    with pytest.raises(ev.BusClosed):
        broker.reader(1.0)
    assert all(link._open._transport.is_closing() for link in links if link._open)


async def test_closing_ends_what_is_under_way(url: str) -> None:
    async with linked(url) as link:
        await link.request(("PING",), 5.0)
        blocked = asyncio.ensure_future(link.request(("BLPOP", "nothing", 5), 10.0))
        await asyncio.sleep(0)
        await link.close()
        with pytest.raises(ev.BrokerUnavailable, match="closed here"):
            await blocked
        with pytest.raises(ev.BusClosed):
            await link.request(("PING",), 5.0)


async def test_closing_with_much_that_is_not_sent_yet_is_quiet(url: str, unheard: list[str]) -> None:
    for _ in range(3):
        async with linked(url) as link:
            await link.request(("PING",), 5.0)
            reply = link.request(("ECHO", b"x" * 8_000_000), 5.0)
        with pytest.raises(ev.BrokerUnavailable):
            await reply
    await asyncio.sleep(0)  # asyncio calls connection_lost in a turn of its own
    assert unheard == []


async def test_closing_while_connecting(url: str) -> None:
    async with fault_proxy(url) as faulty, linked(faulty.url) as link:
        faulty.swallowing = True
        asking = asyncio.ensure_future(link.request(("PING",), 60.0))
        await asyncio.sleep(0)
        await link.close()
        with pytest.raises(ev.BusClosed):
            await asking
