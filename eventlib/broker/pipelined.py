"""One connection to Redis that many calls share: commands go out as they come, replies return in the same order.

redis-py makes the connection: URL, TLS, login, database. What follows is the library's hottest path, so it goes to the
transport and to hiredis directly: redis-py gives a connection to one call at a time, looks before each whether it still
stands, and awaits a dozen coroutines for a reply. Here a call is one write and one future.

A call is given up when the server was silent for too long, not when a reply takes long to arrive: what comes slowly
over a slow line comes.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import hiredis

from eventlib.broker.connection import Connector, refusal, silence
from eventlib.errors import BrokerError, BrokerUnavailable, BusClosed

_CLOSE_S = 1.0  # for what is not sent yet, and the goodbyes of TLS
_NOTHING = object()
_HUNG_UP = "Redis closed the connection; is it running?"

Argument = str | bytes | float


class PipelinedConnection:
    """A connection that is made when it is first needed, and again after it broke.

    Raises:
        BrokerError: the URL, an option or a file that it names is wrong.
    """

    def __init__(self, url: str) -> None:
        self._connector = Connector(url)
        self._where = self._connector.where
        self._wire: _OpenConnection | None = None
        self._connecting: asyncio.Task[_OpenConnection] | None = None
        self._closed = False

    async def ask(self, command: Sequence[Argument], timeout_s: float, then: Callable[[Any], Any] | None = None) -> Any:
        """Send one command and return its reply, or what `then`, called as soon as it is here, makes of it.

        A cancelled call may take effect all the same; its `then` is not called.

        Raises:
            BrokerUnavailable: the connection broke, or the server was silent for `timeout_s`, and for as long as the
                calls before this one may wait. It may have taken effect.
            AccessDenied, MissingGroup, UnknownScript, BrokerError: the server refused.
            BusClosed: after `close`.
        """
        wire = self._standing() or await self._connected(timeout_s)
        try:
            packed = _packed(command)
        except UnicodeError as error:
            raise BrokerError(self._where, f"{error}; only text that has a UTF-8 form can be sent") from error
        reply = wire.send(packed, timeout_s, then)
        try:
            return await reply
        except GeneratorExit:  # it is given up, by whoever might have awaited it
            reply.cancel()
            raise

    def begin(self, command: Sequence[Argument], timeout_s: float) -> "asyncio.Future[Any] | None":
        """Send one command here and now; the future ends as `ask` does. None where only `ask` can: it was not sent."""
        wire = self._standing()
        if wire is None:
            return None
        try:
            return wire.send(_packed(command), timeout_s)
        except UnicodeError:
            return None

    def _standing(self) -> "_OpenConnection | None":
        """What it is connected by, as far as is known."""
        return None if self._wire is None or self._wire.broken else self._wire

    async def _connected(self, timeout_s: float) -> "_OpenConnection":
        if self._closed:
            raise BusClosed
        if (connecting := self._connecting) is None or connecting.done():
            connecting = self._connecting = asyncio.create_task(self._connect(timeout_s))
            connecting.add_done_callback(_heard)
        await asyncio.wait({connecting})  # with whoever else needs it: one that is cancelled does not stop it
        if not connecting.cancelled():
            return connecting.result()
        if self._closed:
            raise BusClosed
        raise BrokerUnavailable(self._where, "connecting was interrupted")

    async def _connect(self, timeout_s: float) -> "_OpenConnection":
        try:
            self._wire = _OpenConnection(await self._connector.connect(timeout_s), self._where)
        finally:
            self._connecting = None
        return self._wire

    def hang_up(self) -> None:
        """Break it off. Calls under way end as if the server had gone."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._wire is not None:
            self._wire.hang_up()

    async def close(self) -> None:
        """Hang up, and wait until that is done."""
        self.hang_up()
        if self._connecting is not None:
            await asyncio.wait({self._connecting})
        if self._wire is not None:
            await self._wire.close()


# What waits for a reply, for how long, when it was sent, and what is done with the reply first.
_Pending = tuple[asyncio.Future[Any], float, float, Callable[[Any], Any] | None]


class _OpenConnection(asyncio.Protocol):
    """One made connection, until it breaks."""

    def __init__(self, writer: asyncio.StreamWriter, where: str) -> None:
        loop = asyncio.get_running_loop()
        self.broken = False
        self._where = where
        self._writer = writer  # it closes its transport when it is collected
        self._transport = cast(asyncio.Transport, writer.transport)
        self._reader = hiredis.Reader(replyError=partial(refusal, where=where), notEnoughData=_NOTHING)
        self._pending: deque[_Pending] = deque()
        self._make_future, self._now, self._call_at = loop.create_future, loop.time, loop.call_at
        self._heard_at = self._now()
        self._watch: asyncio.TimerHandle | None = None
        self._watch_at = math.inf
        self._gone: asyncio.Future[None] = loop.create_future()
        self._transport.set_protocol(self)  # from here on, the writer has nothing to do with it

    def send(self, packed: bytes, timeout_s: float, then: Callable[[Any], Any] | None = None) -> "asyncio.Future[Any]":
        """Send a command; the future has its reply."""
        reply = self._make_future()
        now = self._now()
        self._pending.append((reply, timeout_s, now, then))
        if self.broken or self._transport.is_closing():
            self._break(_HUNG_UP)
            return reply
        if (due := now + timeout_s) < self._watch_at:  # seldom: one look serves all that is sent before it
            self._look_at(due)
        self._transport.write(packed)
        return reply

    def _look_at(self, due: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch, self._watch_at = self._call_at(due, self._look), due

    def _look(self) -> None:
        """Has the server been silent for longer than the first call may wait?"""
        self._watch, self._watch_at = None, math.inf
        if not self._pending:
            return
        _, timeout_s, sent_at, _ = self._pending[0]
        due, now = max(sent_at, self._heard_at) + timeout_s, self._now()
        if now < due:
            self._look_at(min(due, now + min(wait_s for _, wait_s, _, _ in self._pending)))  # who is first next time?
        else:
            self._break(silence(timeout_s, self._where))

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._now()
        self._reader.feed(data)
        pending = self._pending
        try:
            while (reply := self._reader.gets()) is not _NOTHING:
                if not pending:
                    self._break("Redis sent what nobody had asked for")
                    return
                future, _, _, then = pending.popleft()
                if future.done():  # its caller was cancelled
                    continue
                if isinstance(reply, BrokerError):
                    future.set_exception(reply)
                elif then is None:
                    future.set_result(reply)
                else:
                    _settle(future, then, reply)
        except hiredis.ProtocolError:
            self._break("what answers there does not speak Redis's protocol; is the port right?")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"{_HUNG_UP}{f' ({exc})' if exc else ''}")
        if not self._gone.done():
            self._gone.set_result(None)

    def _break(self, problem: str) -> None:
        self._fail(problem)
        self._transport.abort()

    def _fail(self, problem: str) -> None:
        self.broken = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch, self._watch_at = None, math.inf
        while self._pending:
            reply, *_ = self._pending.popleft()
            if not reply.done():
                reply.set_exception(BrokerUnavailable(self._where, problem))

    def hang_up(self) -> None:
        self._fail("the connection was closed here")
        self._transport.close()

    async def close(self) -> None:
        self.hang_up()
        try:
            await asyncio.wait({self._gone}, timeout=_CLOSE_S)
        finally:
            if not self._gone.done():  # asyncio would close what is closed a second time
                self._transport.abort()


def _packed(command: Sequence[Argument]) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub is wrong
    return packed


def _settle(future: "asyncio.Future[Any]", then: Callable[[Any], Any], reply: Any) -> None:
    try:
        future.set_result(then(reply))
    except (KeyboardInterrupt, SystemExit):
        future.cancel()
        raise
    except BaseException as error:  # the caller's, not the connection's
        future.set_exception(error)


def _heard(connecting: "asyncio.Task[_OpenConnection]") -> None:
    """Where those who waited have gone, nobody else asks how it ended."""
    if not connecting.cancelled():
        connecting.exception()
