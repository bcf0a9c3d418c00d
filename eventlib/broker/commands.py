"""Every conversation with Redis: its commands and the scripts.

Nothing is repeated here by itself. Everything is safe to repeat, and its callers repeat it knowingly.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from eventlib.broker import acl as access
from eventlib.broker import keys
from eventlib.broker.connection import without_password
from eventlib.broker.keys import GroupKeys, Keys, Script
from eventlib.broker.pipelined import Argument, PipelinedConnection
from eventlib.broker.requests import ScriptCall
from eventlib.errors import AccessDenied, BrokerError, BrokerUnavailable, BusClosed, EvictingServer, MissingCommand
from eventlib.records import EVENT, Backlog, DlqState, Entry, Place, ServerInfo, Trimmed, TrimmedGroup, Unique
from eventlib.retention import Retention

log = logging.getLogger("eventlib")

BATCH_LIMIT = 500  # bodies in one round trip: past this the server gains nothing and others wait longer
BATCH_BYTES = 4 * 2**20  # the same for large ones; a single body may be larger
_REPLY_TIMEOUT_S = 5.0
_DLQ_NOTICED = {10**n for n in range(3, 10)}  # lengths of a dead-letter queue, which nobody trims, worth a warning
_PAGE_BYTES = 4_000_000
_LANES_LOOKED_AT = 500  # in one call: a few ms of the server's time
_RECOUNT_LIMIT = 4000  # up to here a lag that may be wrong is counted again
_COUNT_FIRST, _COUNT_LIMIT = 20, 500  # entries counted in one step, for their bodies are read as well
_COUNT_S = 0.02  # a step that took longer is followed by a smaller one: nobody else is served meanwhile
_SLOWEST_BYTES_PER_S = 1e6  # a large request may take this much longer

_new = tuple.__new__  # what a NamedTuple's constructor, Python code, calls; twice as fast, and unchecked


class Found(NamedTuple):
    """What a read or a sweep came back with; and may there be `more` at once?"""

    more: bool
    entries: list[Entry]


AtOnce = Callable[[list[Entry]], None]  # is shown what a read brought before its caller is


class Broker:
    """One program's connections to one server, under one key namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self.where = without_password(url)
        self.keys = Keys(namespace)
        self._url = url
        self._link = PipelinedConnection(url)
        self._bulk = PipelinedConnection(url)  # carries events: a lease's renewal would wait behind them
        self._readers: list[PipelinedConnection] = []
        self._closed = False
        self._eviction = "noeviction"  # as it was last warned of
        self._lag_is_right: bool | None = None  # not asked yet

    async def check(self, *, refuse_eviction: bool = False) -> ServerInfo:
        """Make sure the server answers, lets us in and can do what is needed.

        Raises:
            BrokerUnavailable, AccessDenied: it does not.
            BrokerError: it is a replica, which refuses to write.
            EvictingServer: it evicts keys when full, which is warned of if not refused.
            MissingCommand: it lacks a command.
        """
        info = await self._info("server")
        if (await self._info("replication")).get("role") != "master":
            raise BrokerError(self.where, "is a replica, which refuses to write; name the primary")
        if (problem := await self.warn_of_eviction(quietly=refuse_eviction)) and refuse_eviction:
            raise EvictingServer(self.where, problem)
        server = ServerInfo(
            "Valkey" if "valkey_version" in info else "Redis",
            str(info.get("valkey_version") or info.get("redis_version", "unknown")),
        )
        if missing := await self._missing_commands():
            raise MissingCommand(
                self.where, f"{server} lacks {', '.join(missing)}; use Redis 7.0 or newer, or Valkey 7.2 or newer"
            )
        return server

    async def warn_of_eviction(self, *, quietly: bool = False) -> str | None:
        """Say what the server's eviction policy puts at risk, when it is another than the last time; None: nothing."""
        eviction = (await self._info("memory")).get("maxmemory_policy", "noeviction")
        changed, self._eviction = eviction != self._eviction, eviction
        if eviction == "noeviction":
            return None
        lost = "whole streams vanish" if eviction.startswith("allkeys") else "a publish that is repeated may double"
        problem = f"evicts keys when full (maxmemory-policy {eviction}): {lost} then; set it to noeviction"
        if changed and not quietly:
            log.warning("%s %s", self.where, problem)
        return problem

    async def _missing_commands(self) -> list[str]:
        needed = sorted({name.partition("|")[0] for name in access.commands()})
        try:
            known = {name.decode().upper() for name in await self.ask("COMMAND", "LIST")}
        except (AccessDenied, BrokerUnavailable):
            raise
        except BrokerError:  # a server before 7.0, or one that hides it
            return ["COMMAND LIST"]
        return [name for name in needed if name not in known]

    async def ask(self, *command: Argument) -> Any:
        """Send one command and return its reply.

        Raises:
            BrokerUnavailable: no answer. It may have taken effect.
            AccessDenied, MissingGroup, BrokerError: the server refused.
        """
        return await self._link.request(command, _REPLY_TIMEOUT_S)

    async def _info(self, section: str) -> dict[str, str]:
        lines = (await self.ask("INFO", section)).decode().splitlines()
        return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}

    def _run(
        self,
        script: Script,
        script_keys: Sequence[str],
        *args: Argument,
        link: PipelinedConnection | None = None,
        timeout_s: float | None = None,
    ) -> ScriptCall:
        """Call a script. Where it is connected, the call is on its way when this returns."""
        return ScriptCall(link or self._link, script, script_keys, args, timeout_s or _REPLY_TIMEOUT_S)

    # Publishing

    def publish(
        self,
        stream: str,
        producer: str,
        first: int,
        bodies: Sequence[bytes],
        uniques: Sequence[Unique] = (),
        remember_s: float = 3600.0,
    ) -> ScriptCall:
        """Append numbered bodies. The same numbers from the same producer, within `remember_s`, are appended once.

        Await how many were appended: fewer than all, where the server had some already, or a body of the same unique
        id. Where it is connected, the call is on its way when this returns.
        """
        script_keys = [self.keys.stream(stream), self.keys.producer(stream, producer)]
        args: list[Argument] = [first, _ms(remember_s)]
        for unique in uniques:
            script_keys.append(self.keys.unique(stream, unique.id))
            args += (unique.place + 1, _ms(unique.for_s))
        timeout_s = _patience_s(sum(map(len, bodies)))
        return self._run(keys.PUBLISH, script_keys, *args, *bodies, link=self._bulk, timeout_s=timeout_s)

    async def forget_producer(self, stream: str, producer: str) -> None:
        """A producer that will not repeat anything any more leaves no key behind."""
        await self.ask("DEL", self.keys.producer(stream, producer))

    # Consuming. `group` is a GroupKeys, `consumer` a name unique to this process.

    async def ensure_group(self, group: GroupKeys) -> None:
        """Create the group where it is missing: at its durable cursor if it had one, else at the very beginning."""
        await self._run(keys.JOIN, (group.stream, group.retry, group.sweep), group.group)

    def reader(self, block_s: float, ordered_by: str | None = None) -> "Reader":
        """A connection of its own for blocking reads, which outlasts the longest block."""
        if self._closed:
            raise BusClosed
        link = PipelinedConnection(self._url)
        self._readers.append(link)
        return Reader(self, link, block_s) if ordered_by is None else OrderedReader(self, link, block_s, ordered_by)

    async def read_ordered(
        self, group: GroupKeys, consumer: str, ordered_by: str, count: int
    ) -> tuple[list[Entry], tuple[str, str] | None]:
        """Up to `count` entries of each source, of each key one; and, if all is read, up to which ids of each."""
        more, stream_at, retry_at, found = await self._run(
            keys.READ_ORDERED,
            (group.stream, group.retry, group.delayed, group.key_queue_heads, group.key_queues),
            *(group.group, consumer, ordered_by, count),
            link=self._bulk,
        )
        entries = [_entry(source == 2, id_, fields) for source, id_, fields in found]
        return entries, None if more else (stream_at.decode(), retry_at.decode())

    async def free_key_queues(self, group: GroupKeys) -> int:
        """Let those go on that wait behind an entry that is gone. Looks at a part each time; returns how many lanes."""
        reply = await self._run(
            keys.FREE_KEY_QUEUES,
            (group.stream, group.retry, group.delayed, group.key_queue_heads, group.key_queues, group.sweep),
            *(group.group, _LANES_LOOKED_AT),
        )
        if reply:
            log.warning("%s: in %d lanes the entry in hand was gone; they go on", group.key_queues, reply)
        return cast(int, reply)

    async def ack(self, group: GroupKeys, consumer: str, entries: Sequence[Entry]) -> set[Place]:
        """Mark as handled, in one round trip; returns those that another consumer has claimed.

        These stay with their new owner, whose outcome counts.
        """
        fresh = [entry.id for entry in entries if not entry.retried]
        retried = [entry for entry in entries if entry.retried]
        at = (group.stream, group.retry, group.key_queue_heads, group.key_queues)
        ids, origins = ([entry.id for entry in retried], [entry.origin for entry in retried])
        reply = await self._run(keys.ACK, at, group.group, consumer, len(fresh), *fresh, len(retried), *ids, *origins)
        return {(source == 1, id_.decode()) for source, lost in enumerate(reply) for id_ in lost}

    async def retry(self, group: GroupKeys, consumer: str, entry: Entry, attempts: int, delay_s: float) -> bool:
        """Deliver to the group again after `delay_s`. False where another consumer has claimed the entry."""
        reply = await self._run(
            keys.RETRY,
            (_source(group, entry), group.stream, group.retry, group.delayed, group.key_queue_heads, group.key_queues),
            *(group.group, consumer, entry.id, entry.origin, attempts, round(delay_s * 1000.0, 3)),
        )
        return cast(int, reply) != 0

    async def bury(self, group: GroupKeys, consumer: str, entry: Entry, why: Mapping[str, str | int]) -> bool:
        """Move to the dead-letter queue with the fields `why`. False where another consumer has claimed the entry."""
        fields = [part for pair in why.items() for part in pair]
        reply = await self._run(
            keys.BURY,
            (_source(group, entry), group.retry, group.dlq, group.key_queue_heads, group.key_queues),
            *(group.group, consumer, entry.id, "origin", entry.origin, *fields),
        )
        if reply in _DLQ_NOTICED:
            log.warning("the dead-letter queue of %s on %s holds %d", group.group, group.stream, reply)
        return cast(int, reply) != 0

    async def promote(self, group: GroupKeys, limit: int) -> tuple[int, float | None]:
        """Move entries whose wait is over to the retry stream: how many, and seconds until the next is due."""
        moved, next_ms = await self._run(keys.PROMOTE, (group.delayed, group.retry, group.key_queue_heads), limit)
        return moved, None if next_ms < 0 else next_ms / 1000.0

    async def renew(self, group: GroupKeys, consumer: str, entries: Sequence[Entry]) -> set[Place]:
        """Renew the lease of all entries; returns those that another consumer has claimed."""
        lost: set[Place] = set()
        for retried in (False, True):
            ids = [entry.id for entry in entries if entry.retried == retried]
            if ids:
                source = group.retry if retried else group.stream
                reply = await self._run(keys.RENEW, (source,), group.group, consumer, *ids)
                lost.update((retried, id_.decode()) for id_ in reply)
        return lost

    async def sweep(self, group: GroupKeys, consumer: str, lease_s: float, count: int, every_s: float) -> Found:
        """Take over up to `count` entries a stream whose consumer was silent for `lease_s`."""
        more, taken = await self._run(
            keys.SWEEP,
            (group.stream, group.retry, group.sweep),
            *(group.group, consumer, _ms(lease_s), count, _ms(every_s)),
            link=self._bulk,
        )
        return Found(bool(more), [_entry(source == 2, *found) for source, *found in taken])

    async def leave(self, group: GroupKeys, consumer: str) -> int:
        """Give back all that the consumer holds, and forget it. Returns how many entries went back."""
        at = (group.stream, group.retry, group.key_queue_heads, group.key_queues)
        return cast(int, await self._run(keys.LEAVE, at, group.group, consumer))

    # Looking

    async def backlog(self, stream: str, group: str) -> Backlog:
        """What the group has still to do on the stream."""
        at = self.keys.group(stream, group)
        believed = 0 if await self._knows_lag(stream) else _RECOUNT_LIMIT
        reply = await self._run(keys.BACKLOG, (at.stream, at.retry, at.delayed, at.dlq, at.key_queues), group, believed)
        waiting, pending, retrying, delayed, dead, parked, age_ms, after, last = reply
        step = _COUNT_FIRST
        while after:
            asked_at = time.monotonic()
            found, after = await self._run(keys.COUNT, (at.stream,), after, last, step)
            waiting += found
            step = max(1, step // 2) if time.monotonic() - asked_at > _COUNT_S else min(2 * step, _COUNT_LIMIT)
        return Backlog(waiting, pending, retrying, delayed, dead, parked, _seconds(age_ms))

    async def _knows_lag(self, stream: str) -> bool:
        if self._lag_is_right is None:
            try:
                self._lag_is_right = bool(await self._run(keys.PROBE, (self.keys.probe(stream),)))
            except BrokerError:  # it is full, or may only be read: then a look must do without
                return False
        return self._lag_is_right

    # Dead letters

    async def dlq_state(self, group: GroupKeys) -> DlqState:
        """How the dead-letter queue stands."""
        now_ms, length, first, last, groups = await self._run(keys.DLQ, (group.dlq, group.stream))
        names = [name.decode(errors="replace") for name in groups]
        return DlqState(int(now_ms), length, first.decode(), last.decode(), names)

    async def letters(
        self, group: GroupKeys, first: str, last: str, count: int
    ) -> list[tuple[str, dict[bytes, bytes], bytes]]:
        """Up to `count` dead letters, oldest first: id, fields, edit. Fewer where they are large; none: the end."""
        at = (group.dlq, group.edits)
        reply = await self._run(keys.LETTERS, at, first, last, count, _PAGE_BYTES, link=self._bulk)
        return [(id_.decode(), dict(zip(f[::2], f[1::2], strict=True)), edit) for id_, f, edit in reply]

    async def edit(self, group: GroupKeys, id_: str, event: bytes) -> bool:
        """Lay an edited event beside a dead letter. False where the letter is gone."""
        at, timeout_s = (group.dlq, group.edits), _patience_s(len(event))
        return bool(await self._run(keys.EDIT, at, id_, event, link=self._bulk, timeout_s=timeout_s))

    async def replay(self, group: GroupKeys, ids: Sequence[str], *, keep_attempts: bool) -> list[str]:
        """Move dead letters to the retry stream; the ids of those that moved, whichever call before this moved more."""
        reply = await self._run(keys.REPLAY, (group.dlq, group.edits, group.retry), int(keep_attempts), *ids)
        return [id_.decode() for id_ in reply]

    async def purge(self, group: GroupKeys, ids: Sequence[str]) -> list[str]:
        """Delete dead letters; the ids of those that were there."""
        return [id_.decode() for id_ in await self._run(keys.PURGE, (group.dlq, group.edits), *ids)]

    # Retention

    async def declare_retention(self, stream: str, retention: Retention) -> Retention | None:
        """Keep with the stream what it is to keep; returns what was declared before, if it was something else."""
        key, text = self.keys.retention(stream), _policy_text(retention)
        before = await self.ask("HGET", key, "policy")
        if before == text.encode():
            return None
        await self.ask("HSET", key, "policy", text)
        return _policy(before) if before else None

    async def trim(self, stream: str, declared: Retention | None, every_s: float, limit: int) -> Trimmed | None:
        """Drop up to `limit` entries that the stream no longer keeps; None where it is not time yet."""
        reply = await self._run(
            keys.TRIM,
            (self.keys.stream(stream), self.keys.retention(stream)),
            *(_policy_text(declared or Retention()), int(declared is not None), _ms(every_s), limit),
        )
        if not reply:
            return None
        more, dropped, entries, kept, groups = reply
        return Trimmed(bool(more), dropped, entries, _policy(kept), tuple(_trimmed_group(*row) for row in groups))

    # The end

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
        self._closed = True
        links = (self._link, self._bulk, *self._readers)
        for link in links:  # all of them, should we be cancelled while we wait for the first
            link.hang_up()
        for link in links:
            await link.close()


class Reader:
    """The blocking read of one group on one connection."""

    def __init__(self, broker: Broker, link: PipelinedConnection, block_s: float) -> None:
        self._broker = broker
        self._link = link
        self._block_s = block_s

    async def read(self, group: GroupKeys, consumer: str, count: int, at_once: AtOnce | None = None) -> Found:
        """Up to `count` entries from the event stream and as many from the retry stream; none after the block.

        `at_once` is shown what came a turn of the loop before the caller is.
        """
        retry_stream = group.retry.encode()

        def found(reply: Any) -> Found:
            entries = [_entry(stream == retry_stream, *entry) for stream, part in reply or () for entry in part]
            if at_once is not None:
                at_once(entries)
            return Found(len(entries) >= count, entries)

        options = ("COUNT", count, "BLOCK", _ms(self._block_s), "STREAMS", group.retry, group.stream, ">", ">")
        return cast(Found, await self._ask("XREADGROUP", "GROUP", group.group, consumer, *options, then=found))

    async def _ask(self, *command: Argument, then: Callable[[Any], Any] | None = None) -> Any:
        return await self._link.request(command, self._block_s + _REPLY_TIMEOUT_S, then)

    async def close(self) -> None:
        self._broker._readers.remove(self._link)
        await self._link.close()


def _entry(retried: bool, id_: bytes, fields: Sequence[bytes] | None, deliveries: int = 1) -> Entry:
    """An entry as read: `fields` are names and values in turn; None where it was deleted."""
    id_text = id_.decode()
    if not retried and fields and len(fields) == 2 and fields[0] == EVENT:  # the rule
        return _new(Entry, (False, id_text, id_text, fields[1], 0, deliveries))
    values = dict(zip(fields[::2], fields[1::2], strict=True)) if fields else {}
    event = values.get(EVENT)
    if not retried:
        return Entry(False, id_text, id_text, event, 0, deliveries)
    origin = values[keys.ORIGIN].decode() if keys.ORIGIN in values else id_text
    return Entry(True, id_text, origin, event, int(values.get(keys.ATTEMPTS, b"0")), deliveries)


class OrderedReader(Reader):
    """A `Reader` that hands out one entry of each key at a time.

    A script cannot block, so it reads without, and where nothing is left a plain XREAD waits for what comes. That wakes
    every idle consumer of the group, of whom one gets the entry.
    """

    def __init__(self, broker: Broker, link: PipelinedConnection, block_s: float, ordered_by: str) -> None:
        super().__init__(broker, link, block_s)
        self._ordered_by = ordered_by
        self._read_up_to: tuple[str, str] | None = None

    async def read(self, group: GroupKeys, consumer: str, count: int, at_once: AtOnce | None = None) -> Found:
        """As `Reader.read`; nothing is shown at once."""
        if self._read_up_to is not None:
            up_to, self._read_up_to = self._read_up_to, None  # an error leaves us with nothing known
            blocking = ("BLOCK", _ms(self._block_s), "STREAMS", group.stream, group.retry, *up_to)
            await self._ask("XREAD", "COUNT", 1, *blocking)
        reading = asyncio.ensure_future(self._broker.read_ordered(group, consumer, self._ordered_by, count))
        try:
            entries, self._read_up_to = await asyncio.shield(reading)
        except asyncio.CancelledError:
            await asyncio.wait({reading})  # or the consumer might leave before the server reads for it
            if not reading.cancelled():
                reading.exception()  # is known, or nobody's concern any more
            raise
        return Found(self._read_up_to is None, entries)


def _source(group: GroupKeys, entry: Entry) -> str:
    return group.retry if entry.retried else group.stream


def _patience_s(size_bytes: int) -> float:
    """How long the server may be silent while so much is sent to it."""
    return _REPLY_TIMEOUT_S + size_bytes / _SLOWEST_BYTES_PER_S


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000.0))


def _seconds(ms: int) -> float | None:
    return None if ms < 0 else ms / 1000.0


def _policy_text(retention: Retention) -> str:
    """What a stream keeps as the scripts read it: four numbers, -1 for what has no end."""
    keep, dead = (-1 if s == math.inf else round(s * 1000.0) for s in (retention.keep_s, retention.dead_after_s))
    entries = -1 if retention.keep_entries is None else retention.keep_entries
    return f"{keep} {entries} {int(retention.keep_unread)} {dead}"


def _policy(text: bytes) -> Retention:
    keep, entries, unread, dead = map(int, text.split())
    keep_s, dead_s = (math.inf if ms < 0 else ms / 1000.0 for ms in (keep, dead))
    return Retention(keep_s, None if entries < 0 else entries, bool(unread), dead_s)


def _trimmed_group(
    name: bytes, exists: int, dead: int, absent_ms: int, oldest_ms: int, dropped_now: int, dropped: int
) -> TrimmedGroup:
    known = name.decode(errors="backslashreplace")  # other programs may call their groups anything
    return TrimmedGroup(known, bool(exists), not dead, absent_ms / 1000.0, _seconds(oldest_ms), dropped_now, dropped)
