"""What the server itself knows about one group on one stream, and ways to bring about what other programs may do."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis.asyncio as redis

from eventlib.broker.keys import GroupKeys, Keys
from eventlib.testing.clients import client_of
from eventlib.testing.waiting import eventually

DEAD = "dead"  # the consumer that takes entries in `read_and_die`


class Pending(NamedTuple):
    """One entry that was delivered to a consumer and is not settled."""

    id: str
    consumer: str
    idle_ms: int  # since it was delivered, or its lease was renewed
    deliveries: int


@dataclass
class Inspector:
    """Looks at a group on a stream, and changes it, past the library: with plain Redis commands.

    `Inspector.open` makes one with a connection of its own, so it also works while a bus is closed or cut off. With
    `retried=True` a method is about the group's retry stream: entries whose wait for the next attempt is over.
    """

    raw: redis.Redis
    keys: GroupKeys

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, stream: str, group: str, *, namespace: str = "ev") -> AsyncIterator["Inspector"]:
        """Connect to the server at `url` for the length of the block. `namespace` is the one given to `connect`."""
        async with client_of(url) as raw:
            yield cls(raw, Keys(namespace).group(stream, group))

    # Looking

    async def events(self, *, retried: bool = False) -> list[dict[bytes, bytes]]:
        """The fields of every entry in the stream, oldest first. Field `event` holds the envelope."""
        rows: Any = await self.raw.xrange(self._key(retried))
        return [fields for _, fields in rows]

    async def dead_letters(self) -> list[dict[bytes, bytes]]:
        """The fields of everything in the group's dead-letter queue."""
        rows: Any = await self.raw.xrange(self.keys.dead_letters)
        return [fields for _, fields in rows]

    async def pending(self, *, retried: bool = False) -> list[Pending]:
        """What the group's consumers hold, by id; the first thousand entries. Creates the group where it is missing."""
        await self.create()
        rows: list[dict[str, Any]] = await self.raw.xpending_range(self._key(retried), self.keys.group, "-", "+", 1000)
        return [
            Pending(_text(r["message_id"]), _text(r["consumer"]), r["time_since_delivered"], r["times_delivered"])
            for r in rows
        ]

    async def consumers(self) -> set[str]:
        """The names of the consumers that the group remembers, on the stream or on its retry stream."""
        rows: list[dict[str, Any]] = []
        for key in (self.keys.stream, self.keys.retry):
            rows += await self.raw.xinfo_consumers(key, self.keys.group)
        return {_text(row["name"]) for row in rows}

    async def cursor(self) -> str:
        """The place in the stream that the group is known to have read; empty before its first sweep."""
        return _text(await self.raw.hget(self.keys.sweep, "cursor") or b"")

    async def due_s(self) -> list[float]:
        """When each delayed entry is due for its next attempt, earliest first: Unix seconds of the server's clock."""
        rows: Any = await self.raw.zrange(self.keys.delayed, 0, -1, withscores=True)
        offset_ms = float(await self.raw.hget(self.keys.sweep, "offset") or 0.0)  # of the group's time
        return [(due_ms + offset_ms) / 1000.0 for _, due_ms in rows]

    async def now_s(self) -> float:
        """The server's clock, in Unix seconds."""
        reply: Any = await self.raw.time()
        return float(reply[0] + reply[1] / 1e6)

    async def wait_for_renewals(self, ids: Collection[str], count: int, *, retried: bool = False) -> None:
        """Wait until each of these pending entries had its lease renewed `count` times."""
        seen, before = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0)

        async def enough() -> bool:
            for row in await self.pending(retried=retried):
                if row.id in seen:
                    seen[row.id] += row.idle_ms < before[row.id]
                    before[row.id] = row.idle_ms
            return all(n >= count for n in seen.values())

        await eventually(enough)

    # Changing

    async def create(self) -> None:
        """Create the group where it is missing, from the beginning of the stream."""
        for key in (self.keys.stream, self.keys.retry):
            try:
                await self.raw.xgroup_create(key, self.keys.group, "0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    async def add(self, **fields: bytes | str) -> str:
        """Append an entry with these fields, as another program may; returns its id."""
        return _text(await self.raw.xadd(self.keys.stream, fields))  # type: ignore[arg-type]  # invariant dict

    async def read_and_die(self, count: int = 100, *, retried: bool = False) -> list[str]:
        """Take up to `count` entries as consumer "dead", which then does nothing more, as if it had been killed.

        Returns their ids.
        """
        key = self._key(retried)
        await self.create()
        reply: Any = await self.raw.xreadgroup(self.keys.group, DEAD, {key: ">"}, count)
        entries = reply[key.encode()][0] if isinstance(reply, dict) else [e for _, part in reply for e in part]
        return [_text(id_) for id_, _ in entries]

    async def take_over(self, id_: str, consumer: str, *, idle_ms: int = 0, deliveries: int | None = None) -> None:
        """Give a pending entry to another consumer, as if that one had been silent for `idle_ms` since.

        `deliveries` sets how often the entry was delivered; without it, the number stays.
        """
        await self.raw.xclaim(
            self.keys.stream, self.keys.group, consumer, 0, [id_], idle=idle_ms, retrycount=deliveries, justid=True
        )

    def _key(self, retried: bool) -> str:
        return self.keys.retry if retried else self.keys.stream


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
