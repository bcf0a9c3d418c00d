"""Every conversation with Redis: its commands and the scripts.

redis-py repeats nothing by itself here (see `eventlib.connection`). Everything is safe to repeat instead, and its
callers repeat it knowingly.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis.asyncio as redis
from redis import exceptions as redis_errors

from eventlib import access, keys
from eventlib.connection import ask_for_tls, open_client, translate, without_password
from eventlib.errors import AccessDenied, BrokerError, BrokerUnavailable, MissingCommand
from eventlib.keys import GroupKeys, Keys, Script

log = logging.getLogger("eventlib")

_PRODUCER_TTL_MS = 3_600_000  # far longer than any publish is retried
_REPLY_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Which server answered. Results differ between products and versions, so every report names them."""

    product: str
    version: str

    def __str__(self) -> str:
        return f"{self.product} {self.version}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One delivery as the server handed it out. `attempts` were used up before it, `deliveries` count this one."""

    retried: bool  # read from the group's retry stream
    id: str
    fields: Mapping[bytes, bytes]
    deliveries: int = 1

    @property
    def attempts(self) -> int:
        return int(self.fields.get(keys.ATTEMPTS, b"0")) if self.retried else 0

    @property
    def origin(self) -> str:
        """Its id in the event stream."""
        return self.fields[keys.ORIGIN].decode() if self.retried else self.id


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a group has still to do on one stream, in entries, seen at one moment."""

    waiting: int  # never delivered
    pending: int  # delivered, not acknowledged
    retrying: int  # their wait is over, delivered again or about to be
    delayed: int  # waiting for their next attempt
    dead: int  # in the dead-letter queue; not part of `total`

    @property
    def total(self) -> int:
        return self.waiting + self.pending + self.retrying + self.delayed


@dataclass(frozen=True, slots=True)
class DeadEntry:
    """One entry of a dead-letter queue. `raw` holds its fields, byte for byte; after a retry, `event` alone."""

    id: str
    origin: str
    reason: str
    error: str
    attempts: int
    handler: str
    raw: Mapping[bytes, bytes]


class Broker:
    """One program's connections to one server, under one key namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self.where = without_password(url)
        self.keys = Keys(namespace)
        self._url = url
        self._client = open_client(self._url)
        self._readers: list[redis.Redis] = []

    async def check(self) -> ServerInfo:
        """Make sure the server answers, lets us in and can do what is needed.

        Raises:
            BrokerUnavailable, AccessDenied: it does not.
            MissingCommand: it lacks a command.
        """
        info = await self.ask("INFO", "server")
        if (await self.ask("INFO", "replication")).get("role") != "master":
            raise BrokerError(self.where, "is a replica, which refuses to write; name the primary")
        if (evicts := (await self.ask("INFO", "memory")).get("maxmemory_policy", "noeviction")) != "noeviction":
            log.warning("%s evicts keys when full (maxmemory-policy %s): whole streams vanish then", self.where, evicts)
        server = ServerInfo(
            "Valkey" if "valkey_version" in info else "Redis",
            str(info.get("valkey_version") or info.get("redis_version", "unknown")),
        )
        if missing := await self._missing_commands():
            raise MissingCommand(
                self.where, f"{server} lacks {', '.join(missing)}; use Redis 7.0 or newer, or Valkey 7.2 or newer"
            )
        return server

    async def _missing_commands(self) -> list[str]:
        needed = sorted({name.partition("|")[0] for name in access.commands()})
        try:
            known = {name.decode().upper() for name in await self.ask("COMMAND LIST")}
        except (AccessDenied, BrokerUnavailable):
            raise
        except BrokerError:  # a server before 7.0, or one that hides it
            return ["COMMAND LIST"]
        return [name for name in needed if name not in known]

    async def ask(self, *command: str | bytes | float) -> Any:
        """Send one command and return its reply.

        Raises:
            BrokerUnavailable: no answer. It may have taken effect.
            AccessDenied, MissingGroup, BrokerError: the server refused.
        """
        return await self._execute(self._client, _REPLY_TIMEOUT_S, *command)

    async def _execute(self, client: redis.Redis, timeout_s: float, *command: str | bytes | float) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                return await client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py
        except redis_errors.NoScriptError:
            raise
        except TimeoutError as error:
            silent = f"Redis has not answered for {timeout_s:.0f} s; is it busy?{ask_for_tls(self.where)}"
            raise BrokerUnavailable(self.where, silent) from error
        except (redis_errors.RedisError, OSError, asyncio.IncompleteReadError) as error:
            raise translate(error, self.where) from error

    async def _run(self, script: Script, script_keys: Sequence[str], *args: str | bytes | float) -> Any:
        try:
            try:
                return await self.ask("EVALSHA", script.sha, len(script_keys), *script_keys, *args)
            except redis_errors.NoScriptError:
                return await self.ask("EVAL", script.text, len(script_keys), *script_keys, *args)
        except AccessDenied as error:  # Redis 7.0 does not say which of its commands was refused
            calls = ", ".join(sorted(access.called_by(script)))
            raise AccessDenied(error.where, f"{error.problem}; script {script.name} calls {calls}") from error

    # Publishing

    async def publish(self, stream: str, producer: str, first: int, bodies: Sequence[bytes]) -> None:
        """Append numbered bodies; the same numbers from the same producer are appended once."""
        await self._run(
            keys.PUBLISH,
            (self.keys.stream(stream), self.keys.producer(stream, producer)),
            first,
            _PRODUCER_TTL_MS,
            *bodies,
        )

    async def forget_producer(self, stream: str, producer: str) -> None:
        """A producer that will not repeat anything any more leaves no key behind."""
        await self.ask("DEL", self.keys.producer(stream, producer))

    # Consuming. `group` is a GroupKeys, `consumer` a name unique to this process.

    async def ensure_group(self, group: GroupKeys) -> None:
        """Create the group where it is missing: at its durable cursor if it had one, else at the very beginning."""
        cursor = await self.ask("HGET", group.sweep, "cursor")
        for stream, start in ((group.stream, cursor or b"0"), (group.retry, b"0")):
            try:
                await self.ask("XGROUP", "CREATE", stream, group.group, start, "MKSTREAM")
            except BrokerError as error:
                if "BUSYGROUP" not in error.problem:
                    raise

    def reader(self, block_s: float) -> "Reader":
        """A connection of its own for blocking reads, which outlasts the longest block."""
        client = open_client(self._url)
        self._readers.append(client)
        return Reader(self, client, block_s)

    async def ack(self, group: GroupKeys, consumer: str, entries: Sequence[Entry]) -> set[tuple[bool, str]]:
        """Mark as handled, in one round trip; returns (retried, id) of those that another consumer has claimed.

        These stay with their new owner, whose outcome counts.
        """
        fresh = [entry.id for entry in entries if not entry.retried]
        retried = [entry.id for entry in entries if entry.retried]
        reply = await self._run(
            keys.ACK, (group.stream, group.retry), group.group, consumer, len(fresh), *fresh, *retried
        )
        return {(source == 1, id_.decode()) for source, lost in enumerate(reply) for id_ in lost}

    async def retry(self, group: GroupKeys, consumer: str, entry: Entry, attempts: int, delay_s: float) -> bool:
        """Deliver to the group again after `delay_s`. False where another consumer has claimed the entry."""
        reply = await self._run(
            keys.RETRY,
            (_source(group, entry), group.stream, group.retry, group.delayed),
            *(group.group, consumer, entry.id, entry.origin, attempts, round(delay_s * 1000.0, 3)),
        )
        return cast(int, reply) != 0

    async def bury(self, group: GroupKeys, consumer: str, entry: Entry, why: Mapping[str, str | int]) -> bool:
        """Move to the dead-letter queue with the fields `why`. False where another consumer has claimed the entry."""
        fields = [part for pair in why.items() for part in pair]
        reply = await self._run(
            keys.BURY,
            (_source(group, entry), group.retry, group.dlq),
            *(group.group, consumer, entry.id, "origin", entry.origin, *fields),
        )
        return cast(int, reply) != 0

    async def promote(self, group: GroupKeys, limit: int) -> tuple[int, float | None]:
        """Move entries whose wait is over to the retry stream: how many, and seconds until the next is due."""
        moved, next_ms = await self._run(keys.PROMOTE, (group.delayed, group.retry), limit)
        return moved, None if next_ms < 0 else next_ms / 1000.0

    async def renew(self, group: GroupKeys, consumer: str, entries: Sequence[Entry]) -> set[tuple[bool, str]]:
        """Renew the lease of all entries; returns (retried, id) of those that another consumer has claimed."""
        lost: set[tuple[bool, str]] = set()
        for retried in (False, True):
            ids = [entry.id for entry in entries if entry.retried == retried]
            if ids:
                source = group.retry if retried else group.stream
                reply = await self._run(keys.RENEW, (source,), group.group, consumer, *ids)
                lost.update((retried, id_.decode()) for id_ in reply)
        return lost

    async def sweep(
        self, group: GroupKeys, consumer: str, lease_s: float, count: int, every_s: float
    ) -> tuple[bool, list[Entry]]:
        """Take over up to `count` entries a stream whose consumer was silent for `lease_s`; and may there be more?"""
        more, taken = await self._run(
            keys.SWEEP,
            (group.stream, group.retry, group.sweep),
            *(group.group, consumer, _ms(lease_s), count, _ms(every_s)),
        )
        entries = [
            Entry(source == 2, id_.decode(), dict(zip(fields[::2], fields[1::2], strict=True)), deliveries)
            for source, id_, fields, deliveries in taken
        ]
        return bool(more), entries

    async def leave(self, group: GroupKeys, consumer: str) -> int:
        """Give back all that the consumer holds, and forget it. Returns how many entries went back."""
        return cast(int, await self._run(keys.LEAVE, (group.stream, group.retry), group.group, consumer))

    # Looking

    async def backlog(self, stream: str, group: str) -> Backlog:
        """What the group has still to do on the stream."""
        at = self.keys.group(stream, group)
        return Backlog(*await self._run(keys.BACKLOG, (at.stream, at.retry, at.delayed, at.dlq), group))

    async def dead_letters(self, stream: str, group: str, count: int) -> list[DeadEntry]:
        """The oldest `count` entries of the group's dead-letter queue."""
        at = self.keys.group(stream, group)
        reply = await self.ask("XRANGE", at.dlq, "-", "+", "COUNT", count)
        return [_dead_entry(id_.decode(), fields) for id_, fields in reply]

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
        for client in (self._client, *self._readers):
            await client.aclose()


class Reader:
    """The blocking read of one group on one connection."""

    def __init__(self, broker: Broker, client: redis.Redis, block_s: float) -> None:
        self._broker = broker
        self._client = client
        self._block_s = block_s

    async def read(self, group: GroupKeys, consumer: str, count: int) -> list[Entry]:
        """Up to `count` entries from the event stream and as many from the retry stream; [] after the block."""
        reply = await self._broker._execute(
            self._client,
            self._block_s + _REPLY_TIMEOUT_S,
            *("XREADGROUP", "GROUP", group.group, consumer, "COUNT", count, "BLOCK", _ms(self._block_s)),
            *("STREAMS", group.retry, group.stream, ">", ">"),
        )
        retry_stream = group.retry.encode()
        return [
            Entry(stream == retry_stream, id_.decode(), fields or {})
            for stream, entries in reply or ()
            for id_, fields in entries
        ]

    async def close(self) -> None:
        self._broker._readers.remove(self._client)
        await self._client.aclose()


def _source(group: GroupKeys, entry: Entry) -> str:
    return group.retry if entry.retried else group.stream


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000.0))


def _dead_entry(id_: str, fields: Mapping[bytes, bytes]) -> DeadEntry:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="replace")

    raw = {k.removeprefix(keys.RAW_PREFIX): v for k, v in fields.items() if k.startswith(keys.RAW_PREFIX)}
    attempts = int(fields.get(keys.ATTEMPTS, b"0"))
    return DeadEntry(id_, text(keys.ORIGIN), text(b"reason"), text(b"error"), attempts, text(b"handler"), raw)
