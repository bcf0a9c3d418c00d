"""The commands of consuming: one consumer of one group on one stream."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from eventlib.broker import scripts
from eventlib.broker.connections import Broker, milliseconds
from eventlib.broker.keys import GroupKeys
from eventlib.broker.pipelined import Argument
from eventlib.broker.reading import OrderedReader, Reader, entry_of
from eventlib.records import Entry, ExpectedTime, Place

log = logging.getLogger("eventlib")

_DEAD_LETTERS_NOTICED = {10**n for n in range(3, 10)}  # lengths of a dead-letter queue that are worth a warning
ATTEMPTS_MAX = 2**31  # no entry has so many: for callers that allow any number
_KEY_QUEUES_LOOKED_AT = 500  # in one call: a few ms of the server's time


class TakenOver(NamedTuple):
    """Entries that a sweep took over from silent consumers. `more` is true if another sweep at once may find more.

    `suspects_left` counts entries that were left because they may be what ended their consumers: they are taken over
    one at a time.
    """

    more: bool
    entries: list[Entry]
    suspects_left: int = 0


class Promoted(NamedTuple):
    """How many entries were moved, and the seconds until the next one is due (None: no entry waits).

    `group_ms` is the group's time. If it is not as expected, by `unexpected_ms`, no entry was moved.
    """

    moved: int
    next_s: float | None
    group_ms: float
    offset_ms: float  # by how much the server's clock is ahead of the group's time
    unexpected_ms: float
    seen_ms: float  # the time of the group that a consumer saw last; 0 if none did
    paused: bool = False  # an operator lets the group rest

    @classmethod
    def of(cls, reply: Sequence[Any]) -> "Promoted":
        """What the script returned."""
        moved, next_ms, paused, *times_ms = reply
        group_ms, offset_ms, unexpected_ms, seen_ms = map(float, times_ms)
        next_s = None if next_ms < 0 else next_ms / 1000.0
        return cls(moved, next_s, group_ms, offset_ms, unexpected_ms, seen_ms, bool(paused))


class ConsumerCommands:
    """The commands of one consumer. `consumer` is a name that no other process of the group uses."""

    def __init__(self, broker: Broker, group: GroupKeys, consumer: str) -> None:
        self._broker = broker
        self._group = group
        self._consumer = consumer

    async def ensure_group(self) -> bool:
        """Create the group if it is missing: at its durable cursor if it had one, else at the beginning.

        Returns whether it is paused.
        """
        group = self._group
        _, paused = await self._broker.run(scripts.JOIN, (group.stream, group.retry, group.sweep), group.group)
        return bool(paused)

    def reader(self, block_s: float, ordered_by: str | None = None) -> Reader:
        """A reader for this consumer, with its own connection. A read blocks for `block_s` seconds at most."""
        if ordered_by is None:
            return Reader(self._broker, self._group, self._consumer, block_s)
        return OrderedReader(self._broker, self._group, self._consumer, block_s, ordered_by)

    async def ack(self, entries: Sequence[Entry]) -> set[Place]:
        """Acknowledge entries in one round trip. Returns the places of those that another consumer has taken over.

        These stay with their new owner, whose outcome counts.
        """
        group = self._group
        fresh = [entry.id for entry in entries if not entry.retried]
        retried = [entry for entry in entries if entry.retried]
        args: list[Argument] = [len(fresh), *fresh, len(retried)]
        args += [entry.id for entry in retried]
        args += [entry.origin for entry in retried]
        at = (group.stream, group.retry, group.key_queue_heads, group.key_queues)
        reply = await self._broker.run(scripts.ACK, at, group.group, self._consumer, *args)
        return {(source == 1, id_.decode()) for source, lost in enumerate(reply) for id_ in lost}

    async def retry(
        self, entry: Entry, delay_s: float, *, counts: bool = True, expected: ExpectedTime | None = None
    ) -> bool:
        """Deliver an entry to the group again after `delay_s` seconds. False if another consumer has taken it over.

        `counts` says whether this delivery uses up an attempt. `expected` is the group's time, if it is known.
        """
        group = self._group
        keys = (group.stream, group.retry, group.delayed, group.key_queue_heads, group.key_queues, group.sweep)
        reply = await self._broker.run(
            scripts.RETRY,
            (self._source(entry), *keys),
            *(group.group, self._consumer, entry.id, entry.origin, int(counts), round(delay_s * 1000.0, 3)),
            *expected_arguments(expected),
        )
        return cast(int, reply) != 0

    async def to_dead_letters(self, entry: Entry, why: Mapping[str, str], *, counts: bool = True) -> bool:
        """Move an entry to the dead-letter queue with the fields `why`. False if another consumer has taken it over.

        `counts` says whether this delivery was an attempt.
        """
        group = self._group
        reply = await self._broker.run(
            scripts.TO_DEAD_LETTERS,
            (self._source(entry), group.retry, group.dead_letters, group.key_queue_heads, group.key_queues),
            *(group.group, self._consumer, entry.id, int(counts), "origin", entry.origin),
            *(part for field in why.items() for part in field),
        )
        return self._noticed(reply)

    async def promote(self, limit: int, expected: ExpectedTime | None = None) -> Promoted:
        """Move entries whose wait is over to the retry stream. `expected` is the group's time, if it is known.

        With limit 0, only look: no entry is moved, and other consumers do not learn what time it is.
        """
        group = self._group
        at = (group.delayed, group.retry, group.key_queue_heads, group.sweep)
        return Promoted.of(await self._broker.run(scripts.PROMOTE, at, limit, *expected_arguments(expected)))

    async def put_clock_right(
        self, offset_ms: float, jump_ms: float, expected: ExpectedTime | None = None
    ) -> bool | None:
        """Let the group's time go on as if the server's clock had not jumped by `jump_ms`. All leases begin anew.

        `offset_ms` is the one before the jump, `expected` the group's time, if it is known. False if the caller has to
        look again: another consumer has done it, or the clock has jumped again. None if others saw no jump.
        """
        group = self._group
        done = await self._broker.run(
            scripts.PUT_CLOCK_RIGHT,
            (group.stream, group.retry, group.sweep),
            *(group.group, _time(offset_ms), _time(jump_ms), *expected_arguments(expected)),
        )
        return None if done < 0 else cast(int, done) == 1

    async def renew(self, entries: Sequence[Entry]) -> set[Place]:
        """Renew the lease of all entries. Returns the places of those that another consumer has taken over."""
        group = self._group
        lost: set[Place] = set()
        for retried in (False, True):
            ids = [entry.id for entry in entries if entry.retried == retried]
            if ids:
                source = group.retry if retried else group.stream
                reply = await self._broker.run(scripts.RENEW, (source,), group.group, self._consumer, *ids)
                lost.update((retried, id_.decode()) for id_ in reply)
        return lost

    async def sweep(
        self,
        lease_s: float,
        count: int,
        every_s: float,
        *,
        attempts: int = ATTEMPTS_MAX,
        may_take_suspect: bool = True,
        expected: ExpectedTime | None = None,
    ) -> TakenOver:
        """Take over up to `count` entries of each stream whose consumers were silent for `lease_s` seconds.

        Only one consumer of the group sweeps at a time, and at most every `every_s` seconds. A suspect comes alone,
        when there is nothing else: see `policy.is_suspect`, with `attempts` as the attempts allowed. `expected` is the
        group's time, if it is known.
        """
        group = self._group
        more, taken, left = await self._broker.run(
            scripts.SWEEP,
            (group.stream, group.retry, group.sweep),
            *(group.group, self._consumer, milliseconds(lease_s), count, milliseconds(every_s)),
            *(*expected_arguments(expected), attempts, int(may_take_suspect)),
            bulk=True,
        )
        return TakenOver(bool(more), [entry_of(source == 2, *found) for source, *found in taken], left)

    async def free_stuck(self) -> int:
        """Free per-key queues whose head is gone. Each call looks at a part of them. Returns how many were freed."""
        group = self._group
        freed = await self._broker.run(
            scripts.FREE_KEY_QUEUES,
            (group.stream, group.retry, group.delayed, group.key_queue_heads, group.key_queues, group.sweep),
            *(group.group, _KEY_QUEUES_LOOKED_AT),
        )
        if freed:
            log.warning("%s: %d per-key queues had lost their head; their next entries follow", group.key_queues, freed)
        return cast(int, freed)

    async def leave(self) -> int:
        """Give back all entries that the consumer holds, and delete the consumer. Returns how many went back."""
        group = self._group
        at = (group.stream, group.retry, group.key_queue_heads, group.key_queues)
        return cast(int, await self._broker.run(scripts.LEAVE, at, group.group, self._consumer))

    def _noticed(self, dead_letters: int) -> bool:
        """Whether an entry was moved to the dead letters, of which there are so many now. 0: it was lost."""
        if dead_letters in _DEAD_LETTERS_NOTICED:
            log.warning(
                "the dead-letter queue of %s on %s holds %d", self._group.group, self._group.stream, dead_letters
            )
        return dead_letters != 0

    def _source(self, entry: Entry) -> str:
        return self._group.retry if entry.retried else self._group.stream


def _time(ms: float) -> str:
    """A time or a difference of times as the scripts take it."""
    return f"{ms:.3f}"


def expected_arguments(time: ExpectedTime | None) -> tuple[str, str]:
    """The group's time that is expected, as the scripts take it."""
    return ("", "0") if time is None else (_time(time.ms), _time(time.late_ms))
