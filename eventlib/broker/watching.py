"""Looking at a consumer group of any library. Only commands that read are sent: no key is written, nothing is taken."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from eventlib.broker.acl import LOOK
from eventlib.broker.connection import without_password
from eventlib.broker.connections import REPLY_TIMEOUT_S
from eventlib.broker.paced import is_of_permission
from eventlib.broker.pipelined import Argument, PipelinedConnection
from eventlib.broker.replies import SCAN_COUNT, ConsumerState, consumer_states, fields, info, text
from eventlib.errors import AccessDenied, BrokerError, MissingGroup
from eventlib.records import ServerInfo

FIRST_ID = "0-0"


class EntryId(NamedTuple):
    """The id of an entry. Unless its publisher gave it, `ms` is the server's clock when the entry was added."""

    ms: int
    number: int

    @classmethod
    def of(cls, written: bytes | str) -> "EntryId":
        ms, _, number = (written.decode() if isinstance(written, bytes) else written).partition("-")
        return cls(int(ms), int(number))

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}"


class Held(NamedTuple):
    """An entry that was delivered to a consumer and is not acknowledged."""

    id: EntryId
    consumer: str
    idle_ms: int  # since it was delivered, or claimed, the last time
    deliveries: int


class GroupState(NamedTuple):
    """Where a group is. The last two are None where the server cannot know them."""

    last_delivered: EntryId
    pending: int
    consumers: int
    reads: int | None  # entries that the group has read since it began
    waiting: int | None  # entries that it has not read yet


class StreamState(NamedTuple):
    """How long a stream is, how much was ever added, and its newest id."""

    length: int
    added: int
    last: EntryId
    groups: int


class Dead(NamedTuple):
    """Why an entry is dead, and how many attempts it had: of a dead letter of eventlib."""

    reason: str
    attempts: int


class Look(NamedTuple):
    """The group at one moment of the server's clock. `held` has no more entries than were asked for, oldest first."""

    at_ms: float
    group: GroupState
    held: list[Held]
    held_of_retries: list[Held]


class GroupWatcher:
    """Looks at one group of one stream. The stream is named by its key. `commands` counts what was sent.

    `retries` is the key of the stream that the group's library keeps for entries that are tried again, if there is one.

    Every method raises:
        BrokerUnavailable: no answer.
        AccessDenied: the server refuses the login or a command; the message names the command.
        MissingGroup: there is no such group, or no such stream any more.
        BrokerError: the URL is wrong, or the key holds something else than a stream.
    """

    def __init__(self, url: str, stream: str, group: str) -> None:
        self.where = without_password(url)
        self.stream = stream
        self.group = group
        self.retries: str | None = None
        self.commands = 0
        self._connection = PipelinedConnection(url)

    async def server(self) -> str:
        """The server's product and version, or that it does not tell."""
        try:
            told = info(await self._ask("INFO", "server"))
        except AccessDenied:
            return "a server that does not tell this user its version"
        return str(ServerInfo.of(told))

    async def stream_state(self, key: str | None = None) -> StreamState | None:
        """The stream, or another one. None if there is no such key."""
        key = self.stream if key is None else key
        try:
            found = fields(await self._ask("XINFO", "STREAM", key))
        except MissingGroup:
            return None
        length = found["length"]
        return StreamState(
            length, found.get("entries-added", length), EntryId.of(found["last-generated-id"]), found["groups"]
        )

    async def groups(self) -> list[str]:
        """The names of the stream's groups."""
        return [text(fields(row)["name"]) for row in await self._ask("XINFO", "GROUPS", self.stream)]

    async def look(self, after: EntryId | None, count: int) -> Look:
        """The group now, and up to `count` entries that it holds, of those behind `after`.

        The commands are sent together, so the server carries them out at one moment, but for microseconds.
        """
        first = "-" if after is None else f"({after}"
        asked = [
            self._ask("TIME"),
            self._ask("XPENDING", self.stream, self.group, first, "+", count),
            self._ask("XINFO", "GROUPS", self.stream),
        ]
        if self.retries is not None:
            asked.append(self._ask("XPENDING", self.retries, self.group, "-", "+", count))
        clock, held, groups, *retried = await asyncio.gather(*asked)
        seconds, microseconds = map(int, clock)
        return Look(
            seconds * 1e3 + microseconds / 1e3,
            self._group_of(groups),
            [_held(row) for row in held],
            [_held(row) for rows in retried for row in rows],
        )

    async def consumers(self) -> list[ConsumerState]:
        """All consumers that the group remembers."""
        return consumer_states(await self._ask("XINFO", "CONSUMERS", self.stream, self.group))

    async def ids(self, after: EntryId, count: int) -> list[EntryId]:
        """Ids of up to `count` entries behind `after`, oldest first. The server sends their bodies too."""
        return [EntryId.of(row[0]) for row in await self._ask("XRANGE", self.stream, f"({after}", "+", "COUNT", count)]

    async def size_of_set(self, key: str) -> int | None:
        """How many members a sorted set has. None where this user may not look."""
        try:
            return int(await self._ask("ZCARD", key))
        except AccessDenied:
            return None

    async def exists(self, *keys: str) -> bool | None:
        """Whether there is one of these keys. None where this user may not look."""
        try:
            return bool(await self._ask("EXISTS", *keys))
        except AccessDenied:
            return None

    async def dead(self, key: str, after: EntryId, count: int) -> list[Dead]:
        """Up to `count` dead letters behind `after`, oldest first."""
        rows = [fields(row[1]) for row in await self._ask("XRANGE", key, f"({after}", "+", "COUNT", count)]
        return [Dead(text(row.get("reason", b"")), int(row.get("attempts", 0))) for row in rows]

    async def scan(self, cursor: int) -> tuple[int, list[str]] | None:
        """Keys of streams that one SCAN finds, and the cursor of the next one: 0 after the last one.

        None where this user may not look for them.
        """
        try:
            next_cursor, keys = await self._ask("SCAN", cursor, "COUNT", SCAN_COUNT, "TYPE", "stream")
        except AccessDenied:
            return None
        return int(next_cursor), [text(key) for key in keys]

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _ask(self, *command: Argument) -> Any:
        self.commands += 1
        try:
            return await self._connection.request(command, REPLY_TIMEOUT_S)
        except AccessDenied as error:
            if not is_of_permission(error):
                raise
            name = " ".join(map(str, command[: 2 if command[0] == "XINFO" else 1]))
            raise AccessDenied(self.where, f"this user may not call {name}; {self._permissions()}") from error
        except BrokerError as error:
            if "no such key" in error.problem:
                raise MissingGroup(self.where, f"there is no stream {self.stream!r}") from error
            if error.problem.startswith("WRONGTYPE"):
                problem = f"key {self.stream!r} holds something else than a stream; name the key of a stream"
                raise BrokerError(self.where, problem) from error
            raise

    def _permissions(self) -> str:
        return f"permit it to read: %R~KEY {' '.join(f'+{name.lower()}' for name in LOOK)}"

    def _group_of(self, groups: Sequence[Any]) -> GroupState:
        for row in map(fields, groups):
            if text(row["name"]) == self.group:
                last = EntryId.of(row["last-delivered-id"])
                return GroupState(last, row["pending"], row["consumers"], row.get("entries-read"), row.get("lag"))
        raise MissingGroup(self.where, f"NOGROUP there is no group {self.group!r} on {self.stream!r}")


def _held(row: Sequence[Any]) -> Held:
    id_, consumer, idle_ms, deliveries = row
    return Held(EntryId.of(id_), text(consumer), idle_ms, deliveries)
