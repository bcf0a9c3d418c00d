"""A request under way is one object: it is on its way once it is made, and can be awaited or cancelled."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis

import eventlib as ev
from eventlib.broker import scripts
from eventlib.broker.connections import Broker
from eventlib.broker.pipelined import PipelinedConnection
from eventlib.broker.publishing import PublishCommands
from eventlib.broker.requests import ScriptCall
from eventlib.records import NumberedBatch
from eventlib.testing.fault_proxy import FaultProxy, fault_proxy
from eventlib.testing.inspector import Inspector
from eventlib.testing.waiting import eventually

pytestmark = pytest.mark.one_server  # what is tested is the client's own side


@pytest.fixture
async def faulty(url: str) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(url) as proxy:
        yield proxy


@pytest.fixture
async def connection(faulty: FaultProxy) -> AsyncIterator[PipelinedConnection]:
    made = PipelinedConnection(faulty.url)
    yield made
    await made.close()


async def collect_garbage() -> None:
    """Collect dropped objects, so that they report unhandled errors now."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "coroutine was never awaited"
        for _ in range(3):
            await asyncio.sleep(0)
            gc.collect()


def call_of(connection: PipelinedConnection, key: str) -> ScriptCall:
    return ScriptCall(connection, scripts.PROBE, [key], [], 5.0)


async def test_a_request_is_on_its_way_before_it_is_awaited(broker: Broker, inspector: Inspector) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    call = PublishCommands(broker).append(NumberedBatch("orders", 2, [b"b"]), "p1", 3600.0)
    await eventually(lambda: has(inspector, 2))
    assert await call == 1


async def test_a_request_without_a_connection_is_begun_too(broker: Broker, inspector: Inspector) -> None:
    call = PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    await eventually(lambda: has(inspector, 1))
    assert await call == 1


async def has(inspector: Inspector, count: int) -> bool:
    return len(await inspector.events()) == count


async def test_a_request_made_just_before_the_connection_stands_uses_it(
    connection: PipelinedConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, late = connection._connector.connect, list[asyncio.Future[bytes]]()

    async def connect_and_ask(timeout_s: float) -> asyncio.StreamWriter:
        writer = await connect(timeout_s)
        late.append(connection.request(("ECHO", "late"), 5.0))
        return writer

    monkeypatch.setattr(connection._connector, "connect", connect_and_ask)
    assert await connection.request(("ECHO", "early"), 5.0) == b"early"
    assert await late[0] == b"late"
    assert len(late) == 1, "it connected twice"


async def test_a_script_that_the_server_has_forgotten_is_sent_whole(broker: Broker, raw: redis.Redis) -> None:
    await PublishCommands(broker).append(NumberedBatch("orders", 1, [b"a"]), "p1", 3600.0)
    await raw.script_flush()
    assert await PublishCommands(broker).append(NumberedBatch("orders", 2, [b"b"]), "p1", 3600.0) == 1
    assert await PublishCommands(broker).append(NumberedBatch("orders", 3, [b"c"]), "p1", 3600.0) == 1


async def test_text_without_a_utf_8_form_is_refused_at_once(connection: PipelinedConnection) -> None:
    with pytest.raises(ev.BrokerError, match="UTF-8"):
        connection.request(("ECHO", "\ud800"), 5.0)
    with pytest.raises(ev.BrokerError, match="UTF-8"):
        call_of(connection, "\ud800")
    assert not connection.connected


async def test_a_call_that_is_cancelled_while_it_connects_ends(
    connection: PipelinedConnection, faulty: FaultProxy, unhandled_errors: list[str]
) -> None:
    faulty.swallowing = True
    for turns in range(3):
        call = call_of(connection, "key")
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        del call
        await collect_garbage()
    dropped = call_of(connection, "key")
    dropped.cancel()
    del dropped
    await collect_garbage()
    faulty.swallowing = False
    assert unhandled_errors == []


@pytest.mark.parametrize("end", ["cut before", "cut after", "refused", "answered"])
async def test_a_call_that_is_cancelled_and_dropped_leaves_no_unhandled_error(
    connection: PipelinedConnection,
    faulty: FaultProxy,
    raw: redis.Redis,
    namespace: str,
    unhandled_errors: list[str],
    end: str,
) -> None:
    """The call ends before or after it is cancelled."""
    key = f"{namespace}:key"
    if end == "refused":
        await raw.set(key, "no stream")
    await connection.request(("PING",), 5.0)
    if end in ("cut before", "cut after"):
        faulty.swallowing = True
    call = ScriptCall(connection, scripts.PUBLISH, [key, f"{key}:producer"], [1, 1000, b"body"], 5.0)
    if end == "cut after":
        call.cancel()
    if end in ("cut before", "cut after"):
        faulty.cut()
        await eventually(lambda: not connection.connected)
    else:
        await eventually(call._reply.done)
    call.cancel()
    del call
    await collect_garbage()
    assert unhandled_errors == []


async def test_a_call_that_ends_with_an_error_and_is_dropped_leaves_an_unhandled_error(
    connection: PipelinedConnection, raw: redis.Redis, namespace: str, unhandled_errors: list[str]
) -> None:
    """This proves that the tests above can fail."""
    await connection.request(("PING",), 5.0)
    await raw.set(f"{namespace}:key", "no hash")
    replies = [connection.request(("HGET", f"{namespace}:key", "field"), 5.0)]
    await eventually(replies[0].done)
    replies.clear()
    await collect_garbage()
    assert unhandled_errors == ["Future exception was never retrieved"]
