"""Looking at all streams of a server, of any library. Only commands that read are sent, and few in any second."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventlib.broker.connection import without_password
from eventlib.broker.connections import REPLY_TIMEOUT_S
from eventlib.broker.keys import dead_letters_at
from eventlib.broker.pipelined import Argument, PipelinedConnection
from eventlib.broker.replies import SCAN_COUNT, fields, info, text
from eventlib.errors import AccessDenied, BrokerError, BrokerUnavailable

_MEMORY_SAMPLES = 1  # parts of a stream that the server measures to estimate its memory


@dataclass(frozen=True, slots=True)
class GroupSurvey:
    """One group. `lag_entries` it has not read, None where the server does not know. Ages are those of the entries.

    `lost_entries` left the stream before the group read them, as far as is known until it reads on.
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


@dataclass(frozen=True, slots=True)
class StreamSurvey:
    """One stream. `memory_bytes` is the server's estimate; None where this user may not ask."""

    stream: str
    entries: int
    added: int | None
    memory_bytes: int | None
    groups: tuple[GroupSurvey, ...]
    dead_letters_of: tuple[str, str] | None = None  # of the stream and the group, where it is a dead-letter queue

    @property
    def trimmed(self) -> bool:
        """Whether entries have left it."""
        return self.added is not None and self.added > self.entries


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


@dataclass(frozen=True, slots=True)
class SurveyLimits:
    """What a survey may cost, and when a consumer is idle. `keys` are all streams to look at, instead of a search."""

    commands_per_s: float = 100.0
    streams_max: int = 500
    idle_after_s: float = 60.0
    keys: tuple[str, ...] = ()


class Surveyor:
    """Looks at the streams of one server.

    Raises:
        BrokerError: the URL is wrong.
    """

    def __init__(self, url: str, limits: SurveyLimits) -> None:
        self.where = without_password(url)
        self.limits = limits
        self._connection = PipelinedConnection(url)
        self._commands = 0
        self._turn_at_s = 0.0
        self._ahead_ms = 0.0  # how far the server's clock is ahead of this machine's steady one
        self._refused = set[str]()  # what this user may not ask: it is not asked again

    async def survey(self) -> Survey:
        """Look at all streams once. A stream that this user may not read is skipped.

        Raises:
            BrokerUnavailable: no answer.
            AccessDenied: the server refuses the login, or a command that is needed; the message names it.
        """
        begun_s, self._commands = time.monotonic(), 0
        told = info(await self._unless_refused("INFO", "memory", "stats") or b"")
        self._ahead_ms = await self._server_ms() - time.monotonic() * 1e3
        keys = list(self.limits.keys) or await self._find()
        found, missing = list[StreamSurvey](), list[str]()
        forbidden = 0
        for key in keys[: self.limits.streams_max]:
            try:
                found.append(await self._stream(key))
            except BrokerUnavailable:
                raise
            except AccessDenied as error:
                if not _is_of_a_key(error):
                    raise
                forbidden += 1
            except BrokerError:  # it was deleted meanwhile, or a key that was named is no stream
                missing.append(text(key.encode(errors="surrogateescape")))
        skipped = forbidden + max(0, len(keys) - self.limits.streams_max)
        took_s = time.monotonic() - begun_s
        evicted = told.get("evicted_keys")
        return Survey(
            *(tuple(found), tuple(missing), skipped, self._commands, took_s, _memory(told)),
            *(told.get("maxmemory_policy"), None if evicted is None else int(evicted)),
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _find(self) -> list[str]:
        found, cursor = set[str](), b"0"
        while True:
            cursor, keys = await self._ask("SCAN", cursor, "COUNT", SCAN_COUNT, "TYPE", "stream")
            found.update(key.decode(errors="surrogateescape") for key in keys)
            if int(cursor) == 0:
                return sorted(found)

    async def _stream(self, key: str) -> StreamSurvey:
        named = key.encode(errors="surrogateescape")
        about = fields(await self._ask("XINFO", "STREAM", named))
        now_ms = self._ahead_ms + time.monotonic() * 1e3
        gone = max(0, about.get("entries-added", 0) - about["length"])
        rows = [fields(row) for row in await self._ask("XINFO", "GROUPS", named)]
        groups = [await self._group(named, row, now_ms, gone) for row in rows]
        memory = await self._unless_refused("MEMORY", "USAGE", named, "SAMPLES", _MEMORY_SAMPLES)
        return StreamSurvey(
            *(text(named), about["length"], about.get("entries-added"), memory, tuple(groups)),
            dead_letters_of=dead_letters_at(text(named)),
        )

    async def _group(self, key: bytes, about: Mapping[str, Any], now_ms: float, gone: int) -> GroupSurvey:
        group, idle_ms = about["name"], self.limits.idle_after_s * 1000.0
        rows = map(fields, await self._ask("XINFO", "CONSUMERS", key, group))
        consumers = [(row["idle"] > idle_ms, row["pending"] > 0) for row in rows]
        oldest = await self._ask("XPENDING", key, group, "-", "+", 1) if about["pending"] else []
        unread: Sequence[Any] = []
        if about.get("lag") != 0:
            unread = await self._ask("XRANGE", key, b"(" + about["last-delivered-id"], "+", "COUNT", 1)
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
        )

    async def _server_ms(self) -> float:
        seconds, microseconds = map(int, await self._ask("TIME"))
        return seconds * 1e3 + microseconds / 1e3

    async def _unless_refused(self, *command: Argument) -> Any:
        """The reply; None where this user may not send the command."""
        name = str(command[0])
        if name in self._refused:
            return None
        try:
            return await self._ask(*command)
        except AccessDenied as error:
            if "NOPERM" not in error.problem:
                raise
            self._refused.add(name)
            return None

    async def _ask(self, *command: Argument) -> Any:
        """Send a command when it is its turn: no more than `commands_per_s` in any second."""
        every_s, now_s = 1.0 / self.limits.commands_per_s, time.monotonic()
        wait_s = self._turn_at_s - now_s
        self._turn_at_s = max(self._turn_at_s, now_s) + every_s
        if wait_s > 0.0:
            await asyncio.sleep(wait_s)
        self._commands += 1
        return await self._connection.request(command, REPLY_TIMEOUT_S)


def _memory(told: Mapping[str, str]) -> dict[str, int]:
    names = {"used_bytes": "used_memory", "max_bytes": "maxmemory", "system_bytes": "total_system_memory"}
    return {name: int(told[own]) for name, own in names.items() if own in told}


def _is_of_a_key(error: AccessDenied) -> bool:
    """Whether a key is out of this user's reach, and not a command: a server's own words."""
    return "NOPERM" in error.problem and "access" in error.problem and " key" in error.problem


def _age_s(entries: Sequence[Any], now_ms: float) -> float | None:
    """The age of the first of these entries, by its id."""
    if not entries:
        return None
    return max(0.0, now_ms - int(entries[0][0].partition(b"-")[0])) / 1000.0
