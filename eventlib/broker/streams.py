"""The commands on a stream as a whole: what its groups still have to do, what it keeps, and trimming."""

import math
import time

from eventlib.broker import scripts
from eventlib.broker.connections import Broker, milliseconds
from eventlib.errors import AccessDenied, BrokerError
from eventlib.records import Backlog, Trimmed, TrimmedGroup
from eventlib.retention import Retention

COUNT_FIRST, COUNT_LIMIT = 20, 500  # entries counted in one step; few, because their bodies are read as well
COUNT_S = 0.02  # a smaller step follows one that took longer, because the server serves no other client meanwhile
_RECOUNT_LIMIT = 4000  # a lag below this is counted again if it may be wrong


class StreamCommands:
    """Looks at streams and trims them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._lag_is_right: bool | None = None  # None: not asked yet

    async def backlog(self, stream: str, group: str) -> Backlog:
        """What the group still has to do on the stream."""
        at = self._broker.keys.group(stream, group)
        trusted_from = 0 if await self._knows_lag(stream) else _RECOUNT_LIMIT
        waiting, pending, retrying, delayed, dead, parked, age_ms, after, last = await self._broker.run(
            scripts.BACKLOG, (at.stream, at.retry, at.delayed, at.dead_letters, at.key_queues), group, trusted_from
        )
        step = COUNT_FIRST
        while after:
            asked_at = time.monotonic()
            found, after = await self._broker.run(scripts.COUNT, (at.stream,), after, last, step)
            waiting += found
            step = max(1, step // 2) if time.monotonic() - asked_at > COUNT_S else min(2 * step, COUNT_LIMIT)
        return Backlog(waiting, pending, retrying, delayed, dead, parked, _seconds(age_ms))

    async def _knows_lag(self, stream: str) -> bool:
        if self._lag_is_right is None:
            try:
                self._lag_is_right = bool(await self._broker.run(scripts.PROBE, (self._broker.keys.probe(stream),)))
            except AccessDenied:  # who may only look is not asked to write again and again
                self._lag_is_right = False
            except BrokerError:  # the server is full or may only be read, so it cannot be probed now
                return False
        return self._lag_is_right

    async def declare_retention(self, stream: str, retention: Retention) -> Retention | None:
        """Store with the stream what it keeps. Returns what was declared before, if that was different."""
        key, text = self._broker.keys.retention(stream), _policy_text(retention)
        before = await self._broker.ask("HGET", key, "policy")
        if before == text.encode():
            return None
        await self._broker.ask("HSET", key, "policy", text)
        return _policy(before) if before else None

    async def trim(
        self, stream: str, declared: Retention | None, every_s: float, limit: int, *, listening: bool = False
    ) -> Trimmed | None:
        """Drop up to `limit` entries that the stream no longer keeps. None if it is not due yet.

        A stream without groups drops nothing, except where a program is `listening` to it.
        """
        reply = await self._broker.run(
            scripts.TRIM,
            (self._broker.keys.stream(stream), self._broker.keys.retention(stream)),
            *(
                _policy_text(declared or Retention()),
                int(declared is not None),
                milliseconds(every_s),
                limit,
                int(listening),
            ),
        )
        if not reply:
            return None
        more, dropped, entries, kept, groups = reply
        return Trimmed(bool(more), dropped, entries, _policy(kept), tuple(_trimmed_group(*row) for row in groups))


def _seconds(ms: int) -> float | None:
    return None if ms < 0 else ms / 1000.0


def _policy_text(retention: Retention) -> str:
    """What a stream keeps, in the form that the scripts read: four numbers, with -1 for no limit."""
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
    text = name.decode(errors="backslashreplace")  # other programs may give their groups any name
    return TrimmedGroup(text, bool(exists), not dead, absent_ms / 1000.0, _seconds(oldest_ms), dropped_now, dropped)
