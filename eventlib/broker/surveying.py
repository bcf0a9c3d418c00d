"""Looking at all streams of a server, of any library. Only commands that read are sent, and few in any second."""

import heapq
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventlib.broker.connection import without_password
from eventlib.broker.keys import Keys, OwnKey, own_key
from eventlib.broker.paced import PacedConnection, is_of_a_key
from eventlib.broker.replies import SCAN_COUNT, ConsumerState, consumer_states, fields, info, text
from eventlib.errors import AccessDenied, BrokerError, BrokerUnavailable

_CONSUMERS_MAX = 20  # named of a group: a library that leaks their names has thousands
_MEMORY_SAMPLES = 1  # parts of a stream that the server measures to estimate its memory


@dataclass(frozen=True, slots=True)
class GroupSurvey:
    """One group. `lag_entries` it has not read, None where the server does not know. Ages are those of the entries.

    `lost_entries` left the stream before the group read them, as far as is known until it reads on. `paused_s` says
    for how long an operator has let a group of eventlib rest; None: it is not paused.
    Consumers that asked for nothing for a while are `idle`; they are `dead` if they hold entries meanwhile.
    """

    group: str
    lag_entries: int | None
    pending_entries: int
    oldest_unread_s: float | None
    oldest_pending_s: float | None
    active_consumers: int
    idle_consumers: int
    dead_consumers: int
    lost_entries: int = 0
    consumers: tuple[ConsumerState, ...] = ()  # those that hold most, at most 20 of them
    paused_s: float | None = None

    @property
    def paused(self) -> bool:
        """Whether an operator lets it rest."""
        return self.paused_s is not None


@dataclass(frozen=True, slots=True)
class StreamSurvey:
    """One stream. `memory_bytes` is the server's estimate; None where this user may not ask."""

    stream: str
    entries: int
    added: int | None
    memory_bytes: int | None
    groups: tuple[GroupSurvey, ...]

    @property
    def trimmed(self) -> bool:
        """Whether entries have left it."""
        return self.added is not None and self.added > self.entries

    @property
    def own(self) -> OwnKey | None:
        """What the key says, where it is one of eventlib's own."""
        return own_key(self.stream)

    @property
    def name(self) -> str:
        """The stream as the commands of eventlib call it; of another library, its key."""
        own = self.own
        return self.stream if own is None else own.stream_name

    @property
    def dead_letters_of(self) -> tuple[str, str] | None:
        """The key of the stream, and the group, whose dead-letter queue it is. None: it is none of eventlib's."""
        own = self.own
        group = None if own is None else own.group_of("dlq")
        return None if own is None or group is None else (own.events, group)


@dataclass(frozen=True, slots=True)
class Survey:
    """All streams of a server. `skipped` streams were found beyond the limit. `commands` counts what was sent.

    `missing` are keys that were there as the survey began, or were named, and hold no stream.
    """

    streams: tuple[StreamSurvey, ...] = ()
    missing: tuple[str, ...] = ()
    skipped: int = 0
    commands: int = 0
    took_s: float = 0.0
    memory: Mapping[str, int] = field(default_factory=dict)  # used_, max_ (0: no limit), system_bytes; empty if unknown
    eviction_policy: str | None = None  # None if unknown, as the next one
    evicted_keys: int | None = None  # since the server started
    searched_all: bool = True  # whether the search for streams came to its end


@dataclass(frozen=True, slots=True)
class SurveyLimits:
    """What a survey may cost, and when a consumer is idle. `keys` are all streams to look at, instead of a search.

    A search ends after `scans_max` commands, each of which looks at some 500 keys; 0 means no limit.
    """

    commands_per_s: float = 100.0
    streams_max: int = 500
    idle_after_s: float = 60.0
    keys: tuple[str, ...] = ()
    scans_max: int = 0


class Surveyor:
    """Looks at the streams of one server.

    Raises:
        BrokerError: the URL is wrong.
    """

    def __init__(self, url: str, limits: SurveyLimits) -> None:
        self.where = without_password(url)
        self.limits = limits
        self._connection = PacedConnection(url, limits.commands_per_s)
        self._ahead_ms = 0.0  # how far the server's clock is ahead of this machine's steady one

    async def survey(self) -> Survey:
        """Look at all streams once. A stream that this user may not read is skipped.

        Raises:
            BrokerUnavailable: no answer.
            AccessDenied: the server refuses the login, or a command that is needed; the message names it.
        """
        begun_s, before = time.monotonic(), self._connection.commands
        told = info(await self._connection.unless_refused("INFO", "memory", "stats") or b"")
        self._ahead_ms = await self._server_ms() - time.monotonic() * 1e3
        keys, searched_all = (list(self.limits.keys), True) if self.limits.keys else await self._find()
        found, missing = list[StreamSurvey](), list[str]()
        forbidden = 0
        for key in keys[: self.limits.streams_max]:
            try:
                found.append(await self._stream(key))
            except BrokerUnavailable:
                raise
            except AccessDenied as error:
                if not is_of_a_key(error):
                    raise
                forbidden += 1
            except BrokerError:  # it was deleted meanwhile, or a key that was named is no stream
                missing.append(text(key.encode(errors="surrogateescape")))
        skipped = forbidden + max(0, len(keys) - self.limits.streams_max)
        took_s = time.monotonic() - begun_s
        evicted = told.get("evicted_keys")
        return Survey(
            *(tuple(found), tuple(missing), skipped, self._connection.commands - before, took_s, _memory(told)),
            *(told.get("maxmemory_policy"), None if evicted is None else int(evicted), searched_all),
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _find(self) -> tuple[list[str], bool]:
        found, cursor, scans = set[str](), b"0", 0
        while True:
            cursor, keys = await self._connection.ask("SCAN", cursor, "COUNT", SCAN_COUNT, "TYPE", "stream")
            found.update(key.decode(errors="surrogateescape") for key in keys)
            scans += 1
            if int(cursor) == 0 or scans == self.limits.scans_max:
                return sorted(found), int(cursor) == 0

    async def _stream(self, key: str) -> StreamSurvey:
        named = key.encode(errors="surrogateescape")
        about = fields(await self._connection.ask("XINFO", "STREAM", named))
        now_ms = self._ahead_ms + time.monotonic() * 1e3
        gone = max(0, about.get("entries-added", 0) - about["length"])
        rows = [fields(row) for row in await self._connection.ask("XINFO", "GROUPS", named)]
        groups = [await self._group(named, row, now_ms, gone) for row in rows]
        memory = await self._connection.unless_refused("MEMORY", "USAGE", named, "SAMPLES", _MEMORY_SAMPLES)
        return StreamSurvey(text(named), about["length"], about.get("entries-added"), memory, tuple(groups))

    async def _group(self, key: bytes, about: Mapping[str, Any], now_ms: float, gone: int) -> GroupSurvey:
        group, idle_ms = about["name"], self.limits.idle_after_s * 1000.0
        found = consumer_states(await self._connection.ask("XINFO", "CONSUMERS", key, group))
        consumers = [(each.idle_ms > idle_ms, each.pending > 0) for each in found]
        oldest = await self._connection.ask("XPENDING", key, group, "-", "+", 1) if about["pending"] else []
        unread: Sequence[Any] = []
        if about.get("lag") != 0:
            unread = await self._connection.ask("XRANGE", key, b"(" + about["last-delivered-id"], "+", "COUNT", 1)
        return GroupSurvey(
            text(group),
            about.get("lag"),
            about["pending"],
            _age_s(unread, now_ms),
            _age_s(oldest, now_ms),
            active_consumers=sum(not idle for idle, _ in consumers),
            idle_consumers=sum(idle and not holds for idle, holds in consumers),
            dead_consumers=sum(idle and holds for idle, holds in consumers),
            lost_entries=max(0, gone - about["entries-read"]) if about.get("entries-read") is not None else 0,
            consumers=tuple(heapq.nlargest(_CONSUMERS_MAX, found, key=lambda each: each.pending)),
            paused_s=await self._paused_s(text(key), text(group), now_ms),
        )

    async def _paused_s(self, key: str, group: str, now_ms: float) -> float | None:
        """For how long a group is paused, with its stream of retries. Only what is eventlib's own is asked about."""
        own = own_key(key)
        if own is None or (own.purpose != "events" and own.group_of("retry") != group):
            return None
        sweep = Keys(own.namespace).group(own.stream, group).sweep
        record = await self._connection.unless_refused("HGET", sweep, "paused")
        return None if record is None else max(0.0, now_ms - json.loads(record)["at"]) / 1000.0

    async def _server_ms(self) -> float:
        seconds, microseconds = map(int, await self._connection.ask("TIME"))
        return seconds * 1e3 + microseconds / 1e3


def _memory(told: Mapping[str, str]) -> dict[str, int]:
    names = {"used_bytes": "used_memory", "max_bytes": "maxmemory", "system_bytes": "total_system_memory"}
    return {name: int(told[own]) for name, own in names.items() if own in told}


def _age_s(entries: Sequence[Any], now_ms: float) -> float | None:
    """The age of the first of these entries, by its id."""
    if not entries:
        return None
    return max(0.0, now_ms - int(entries[0][0].partition(b"-")[0])) / 1000.0
