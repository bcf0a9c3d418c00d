"""One program's connections to one server: single commands, scripts, and what a server must be able to do."""

import logging
from collections.abc import Sequence
from typing import Any

from eventlib.broker import acl
from eventlib.broker.connection import OldPassword, without_password
from eventlib.broker.keys import Keys
from eventlib.broker.pipelined import Argument, Contact, PipelinedConnection
from eventlib.broker.replies import info
from eventlib.broker.requests import ScriptCall
from eventlib.broker.scripts import Script
from eventlib.errors import AccessDenied, BrokerError, BrokerUnavailable, BusClosed, EvictingServer, MissingCommand
from eventlib.records import ServerInfo
from eventlib.steady import steady_s

log = logging.getLogger("eventlib")

REPLY_TIMEOUT_S = 5.0
_SLOWEST_BYTES_PER_S = 1e6  # a large request may take this much longer


class Broker:
    """One program's connections to one server, under one key namespace.

    The commands of each journey are in their own modules and go through `ask` and `run`. Nothing is repeated here.
    Every script is safe to repeat, and its callers decide whether to repeat it.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self.where = without_password(url)
        self.keys = Keys(namespace)
        self._url = url
        self._control = PipelinedConnection(url)
        self._bulk = PipelinedConnection(url)  # carries events: a lease's renewal must not wait behind megabytes
        self._reading: list[PipelinedConnection] = []
        self._closed = False
        self._reconnects_before = 0  # of connections that are closed
        self._clock: tuple[float, float] | None = None  # a time of the server in ms, and `steady_s` at that moment
        self._eviction = "noeviction"  # the policy that was last seen: only a change is logged

    async def check(self, *, refuse_eviction: bool = False) -> ServerInfo:
        """Make sure that the server answers, accepts this program and has the needed commands.

        Raises:
            BrokerUnavailable, AccessDenied: it does not answer, or does not accept this program.
            BrokerError: it is a replica, which refuses to write.
            EvictingServer: it evicts keys when full. Without `refuse_eviction` this is a warning.
            MissingCommand: it lacks a command.
        """
        try:
            told = await self._info("server")
        except OldPassword as error:  # a program that begins has no reason to hope for another one
            raise AccessDenied(error.where, error.problem) from error
        if "server_time_usec" in told:
            self._clock = float(told["server_time_usec"]) / 1e3, steady_s()
        if (await self._info("replication")).get("role") != "master":
            raise BrokerError(self.where, "is a replica, which refuses to write; connect to the primary")
        if (problem := await self.warn_of_eviction(quietly=refuse_eviction)) and refuse_eviction:
            raise EvictingServer(self.where, problem)
        server = ServerInfo.of(told)
        if missing := await self._missing_commands():
            raise MissingCommand(
                self.where, f"{server} lacks {', '.join(missing)}; use Redis 7.0 or newer, or Valkey 7.2 or newer"
            )
        return server

    def server_time_ms(self, at_s: float) -> int | None:
        """What the server's clock showed at a moment of `steady_s`, if it has not jumped since `check`. None before."""
        if self._clock is None:
            return None
        server_ms, noted_s = self._clock
        return max(0, round(server_ms + (at_s - noted_s) * 1000.0))

    @property
    def problem(self) -> str | None:
        """The last failure of a connection. None if the server was heard since."""
        contact = Contact()
        for connection in (self._control, self._bulk, *self._reading):
            contact = contact.merged(connection.contact)
        return contact.problem if contact.failed_at_s > contact.heard_at_s else None

    @property
    def reconnects(self) -> int:
        """How often a connection was made again."""
        connections = (self._control, self._bulk, *self._reading)
        return self._reconnects_before + sum(connection.reconnects for connection in connections)

    async def answers(self) -> None:
        """Return when the server has answered a small question over the connection that renews leases.

        Raises:
            BrokerError: it did not answer, or refused.
        """
        await self.ask("EXISTS", self.keys.probe("health"))

    async def warn_of_eviction(self, *, quietly: bool = False) -> str | None:
        """What the server's eviction policy puts at risk, or None. It is logged if the policy has changed."""
        eviction = (await self._info("memory")).get("maxmemory_policy", "noeviction")
        changed, self._eviction = eviction != self._eviction, eviction
        if eviction == "noeviction":
            return None
        risk = "whole streams vanish" if eviction.startswith("allkeys") else "a publish that is repeated may double"
        problem = f"evicts keys when full (maxmemory-policy {eviction}): {risk} then; set it to noeviction"
        if changed and not quietly:
            log.warning("%s %s", self.where, problem)
        return problem

    async def _missing_commands(self) -> list[str]:
        needed = sorted({name.partition("|")[0] for name in acl.commands()})
        try:
            supported = {name.decode().upper() for name in await self.ask("COMMAND", "LIST")}
        except (AccessDenied, BrokerUnavailable):
            raise
        except BrokerError:  # the server is older than 7.0, or hides the command
            return ["COMMAND LIST"]
        return [name for name in needed if name not in supported]

    async def _info(self, section: str) -> dict[str, str]:
        return info(await self.ask("INFO", section))

    async def ask(self, *command: Argument) -> Any:
        """Send one command and return its reply.

        Raises:
            BrokerUnavailable: no answer. It may have taken effect.
            AccessDenied, MissingGroup, BrokerError: the server refused.
        """
        return await self._control.request(command, REPLY_TIMEOUT_S)

    def run(
        self, script: Script, keys: Sequence[str], *args: Argument, bulk: bool = False, size_bytes: int = 0
    ) -> ScriptCall:
        """Call a script. If the connection is made already, the call is on its way when this returns.

        `bulk` is for scripts that carry events. With `size_bytes` of them, a large call may take longer to answer.
        """
        connection = self._bulk if bulk else self._control
        return ScriptCall(connection, script, keys, args, REPLY_TIMEOUT_S + size_bytes / _SLOWEST_BYTES_PER_S)

    def open_for_reading(self) -> PipelinedConnection:
        """A separate connection for reads that block.

        Raises:
            BusClosed: after `close`.
        """
        if self._closed:
            raise BusClosed
        connection = PipelinedConnection(self._url)
        self._reading.append(connection)
        return connection

    async def close_reading(self, connection: PipelinedConnection) -> None:
        """Close a connection that `open_for_reading` opened."""
        self._reading.remove(connection)
        self._reconnects_before += connection.reconnects
        await connection.close()

    async def delete_all(self) -> int:
        """Delete every key of the namespace; for tests and experiments. Returns how many."""
        deleted = 0
        cursor = b"0"
        while True:
            cursor, found = await self.ask("SCAN", cursor, "MATCH", f"{self.keys.namespace}:*", "COUNT", 1000)
            if found:
                deleted += await self.ask("UNLINK", *found)
            if int(cursor) == 0:
                return deleted

    async def close(self) -> None:
        """Close all connections. Calls under way end as if the server was gone."""
        self._closed = True
        connections = (self._control, self._bulk, *self._reading)
        for connection in connections:  # first all of them, in case this is cancelled while it waits below
            connection.hang_up()
        for connection in connections:
            await connection.close()


def milliseconds(seconds: float) -> int:
    """A duration as the scripts take it: whole milliseconds, at least one."""
    return max(1, round(seconds * 1000.0))
