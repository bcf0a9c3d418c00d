"""One connection to Redis that many requests share: commands go out as they come, replies return in the same order.

redis-py makes the connection: URL, TLS, login, database. What follows is the library's hottest path, so it goes to the
transport and to hiredis directly. redis-py gives a connection to one request at a time, checks the connection before
each request, and awaits a dozen coroutines for a reply. Here a request is one write and one future.

A request fails when the server was silent for too long, not when its reply takes long to arrive. A large reply over a
slow line may take as long as it needs, as long as some of it keeps coming.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import hiredis

from eventlib.broker.connection import Connector, refusal, silence
from eventlib.errors import BrokerError, BrokerUnavailable, BusClosed
from eventlib.steady import steady_s

_CLOSE_S = 1.0  # longest wait for unsent bytes, and for the closing messages of TLS
_NOTHING = object()
_HUNG_UP = "Redis closed the connection; is it running?"

Argument = str | bytes | float
Then = Callable[[Any], Any]  # turns a reply into the request's result


class PipelinedConnection:
    """A connection that is made when it is first needed, and made again after it broke.

    Raises:
        BrokerError: the URL, an option or a file that it names is wrong.
    """

    def __init__(self, url: str) -> None:
        self._connector = Connector(url)
        self._where = self._connector.where
        self.user = self._connector.user
        self._open: _OpenConnection | None = None
        self._connecting: asyncio.Task[_OpenConnection] | None = None
        self._contact = Contact()
        self._closed = False
        self.reconnects = 0  # connections that were made after the first one

    @property
    def connected(self) -> bool:
        """Whether there is a connection that is not known to be broken."""
        return self._open is not None and not self._open.broken

    @property
    def contact(self) -> "Contact":
        """When the server was last heard over this connection, and when it last failed."""
        return self._contact if self._open is None else self._contact.merged(self._open.contact)

    def request(self, command: Sequence[Argument], timeout_s: float, then: Then | None = None) -> "asyncio.Future[Any]":
        """Send one command. The future has its reply, or what `then`, called as soon as the reply is here, makes of it.

        Where it is connected, the command is on its way when this returns. Otherwise a task connects first.
        A cancelled request may take effect all the same; its `then` is not called.

        Raises:
            BrokerError: at once, where the command holds text that has no UTF-8 form.

        The future raises:
            BrokerUnavailable: the connection broke, or the server was silent for `timeout_s` after all requests before
                this one were answered. The command may have taken effect.
            AccessDenied, MissingGroup, UnknownScript, BrokerError: the server refused.
            BusClosed: after `close`.
        """
        try:
            packed = _packed(command)
        except UnicodeError as error:
            raise BrokerError(self._where, f"{error}; only text that has a UTF-8 form can be sent") from error
        if self._open is not None and not self._open.broken:
            return self._open.send(packed, timeout_s, then)
        return asyncio.create_task(self._connect_and_send(packed, timeout_s, then))

    async def _connect_and_send(self, packed: bytes, timeout_s: float, then: Then | None) -> Any:
        connection = await self._ensure_connected(timeout_s)
        return await connection.send(packed, timeout_s, then)

    async def _ensure_connected(self, timeout_s: float) -> "_OpenConnection":
        if self._open is not None and not self._open.broken:  # another request's task has connected meanwhile
            return self._open
        if self._closed:
            raise BusClosed
        if (connecting := self._connecting) is None or connecting.done():
            connecting = self._connecting = asyncio.create_task(self._connect(timeout_s))
            connecting.add_done_callback(_mark_exception_as_seen)
        await asyncio.wait({connecting})  # other requests wait for it too, so a cancelled one does not stop it
        if not connecting.cancelled():
            return connecting.result()
        if self._closed:
            raise BusClosed
        raise BrokerUnavailable(self._where, "connecting was interrupted")

    async def _connect(self, timeout_s: float) -> "_OpenConnection":
        try:
            writer = await self._connector.connect(timeout_s)
        except BrokerError as error:
            self._contact = self.contact.merged(Contact(failed_at_s=steady_s(), problem=error.problem))
            raise
        finally:
            self._connecting = None
        self._contact = self.contact
        self.reconnects += self._open is not None
        self._open = _OpenConnection(writer, self._where, self.user)
        return self._open

    def hang_up(self) -> None:
        """Break the connection off. Requests under way end as if the server had gone."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._open is not None:
            self._open.hang_up()

    async def close(self) -> None:
        """Hang up, and wait until that is done."""
        self.hang_up()
        if self._connecting is not None:
            await asyncio.wait({self._connecting})
        if self._open is not None:
            await self._open.close()


class Contact(NamedTuple):
    """When a server was last heard, when a connection to it last failed, by `steady_s`, and with which problem."""

    heard_at_s: float = -math.inf
    failed_at_s: float = -math.inf
    problem: str = ""

    def merged(self, other: "Contact") -> "Contact":
        """The newer of each."""
        failed = max(self, other, key=lambda contact: contact.failed_at_s)
        return Contact(max(self.heard_at_s, other.heard_at_s), failed.failed_at_s, failed.problem)


# A request that waits for its reply: the future, how long the server may be silent, when it was sent, what turns the
# reply into its result.
_Pending = tuple["asyncio.Future[Any]", float, float, Then | None]


class _OpenConnection(asyncio.Protocol):
    """One connection that was made, until it breaks."""

    def __init__(self, writer: asyncio.StreamWriter, where: str, user: str) -> None:
        loop = asyncio.get_running_loop()
        self.broken = False
        self._where = where
        self._writer = writer  # kept, because it closes its transport when it is collected
        self._transport = cast(asyncio.Transport, writer.transport)
        self._reader = hiredis.Reader(replyError=partial(refusal, where=where, user=user), notEnoughData=_NOTHING)
        self._pending: deque[_Pending] = deque()
        self._make_future, self._now, self._call_at = loop.create_future, loop.time, loop.call_at
        self._heard_at = self._now()
        self._silence_check: asyncio.TimerHandle | None = None
        self._silence_check_at = math.inf
        self._failure = Contact()
        self._gone: asyncio.Future[None] = loop.create_future()
        self._transport.set_protocol(self)  # from here on, nothing goes through the writer

    @property
    def contact(self) -> Contact:
        return self._failure._replace(heard_at_s=steady_s() - (self._now() - self._heard_at))

    def send(self, packed: bytes, timeout_s: float, then: Then | None = None) -> "asyncio.Future[Any]":
        """Send a packed command. The future has its reply."""
        reply = self._make_future()
        now = self._now()
        self._pending.append((reply, timeout_s, now, then))
        if self.broken or self._transport.is_closing():
            self._break(_HUNG_UP)
            return reply
        if (due := now + timeout_s) < self._silence_check_at:  # rare: one check serves all requests sent before it
            self._schedule_silence_check(due)
        self._transport.write(packed)
        return reply

    def _schedule_silence_check(self, due: float) -> None:
        if self._silence_check is not None:
            self._silence_check.cancel()
        self._silence_check, self._silence_check_at = self._call_at(due, self._check_silence), due

    def _check_silence(self) -> None:
        """Break the connection if the server was silent for longer than the first request may wait."""
        self._silence_check, self._silence_check_at = None, math.inf
        if not self._pending:
            return
        _, timeout_s, sent_at, _ = self._pending[0]
        due, now = max(sent_at, self._heard_at) + timeout_s, self._now()
        if now < due:
            # By then, the first may be answered and one behind it, with a shorter timeout, may be the first.
            self._schedule_silence_check(min(due, now + min(wait_s for _, wait_s, _, _ in self._pending)))
        else:
            self._break(silence(timeout_s, self._where))

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._now()
        self._reader.feed(data)
        pending = self._pending
        try:
            while (reply := self._reader.gets()) is not _NOTHING:
                if not pending:
                    self._break("Redis sent a reply that no request had asked for")
                    return
                future, _, _, then = pending.popleft()
                if future.done():  # the request was cancelled
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
        if not self.broken:
            self._failure = Contact(failed_at_s=steady_s(), problem=problem)
        self.broken = True
        if self._silence_check is not None:
            self._silence_check.cancel()
            self._silence_check, self._silence_check_at = None, math.inf
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
            if not self._gone.done():  # asyncio would close a transport that is closed a second time
                self._transport.abort()


def _packed(command: Sequence[Argument]) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub is wrong
    return packed


def _settle(future: "asyncio.Future[Any]", then: Then, reply: Any) -> None:
    try:
        future.set_result(then(reply))
    except (KeyboardInterrupt, SystemExit):
        future.cancel()
        raise
    except BaseException as error:  # of `then`, which belongs to the request and not to the connection
        future.set_exception(error)


def _mark_exception_as_seen(connecting: "asyncio.Task[_OpenConnection]") -> None:
    """Otherwise asyncio complains where all the requests that waited for it were cancelled."""
    if not connecting.cancelled():
        connecting.exception()
