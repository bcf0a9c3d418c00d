"""What the server itself knows about one group: who holds what, and a way to meddle with it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import redis.asyncio as redis

from eventlib.broker.keys import GroupKeys
from eventlib.testing.waiting import eventually


class Pending(NamedTuple):
    """One entry that was delivered and not acknowledged."""

    id: str
    consumer: str
    idle_ms: int
    deliveries: int


@dataclass
class Inspector:
    """Reads and alters a group behind the library's back."""

    raw: redis.Redis
    keys: GroupKeys

    async def add(self, **fields: bytes | str) -> str:
        """Append an entry that the library did not write."""
        return _text(await self.raw.xadd(self.keys.stream, fields))  # type: ignore[arg-type]  # invariant dict

    async def events(self, *, retried: bool = False) -> list[dict[bytes, bytes]]:
        """The fields of everything in the stream, or in the group's retry stream."""
        rows: Any = await self.raw.xrange(self.keys.retry if retried else self.keys.stream)
        return [fields for _, fields in rows]

    async def dead_letters(self) -> list[dict[bytes, bytes]]:
        """The fields of everything in the group's dead-letter queue."""
        rows: Any = await self.raw.xrange(self.keys.dead_letters)
        return [fields for _, fields in rows]

    async def pending(self, *, retried: bool = False) -> list[Pending]:
        key = self.keys.retry if retried else self.keys.stream
        await self.create()
        rows: list[dict[str, Any]] = await self.raw.xpending_range(key, self.keys.group, "-", "+", 1000)
        return [
            Pending(_text(r["message_id"]), _text(r["consumer"]), r["time_since_delivered"], r["times_delivered"])
            for r in rows
        ]

    async def renewals(self, ids: set[str], count: int, *, retried: bool = False) -> None:
        """Wait until each of the entries had its lease renewed so often."""
        seen, before = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0)

        async def enough() -> bool:
            for row in await self.pending(retried=retried):
                if row.id in seen:
                    seen[row.id] += row.idle_ms < before[row.id]
                    before[row.id] = row.idle_ms
            return all(n >= count for n in seen.values())

        await eventually(enough)

    async def consumers(self) -> set[str]:
        """The names that the group remembers, on the stream or on its retry stream."""
        rows: list[dict[str, Any]] = []
        for key in (self.keys.stream, self.keys.retry):
            rows += await self.raw.xinfo_consumers(key, self.keys.group)
        return {_text(row["name"]) for row in rows}

    async def cursor(self) -> str:
        """The group's durable cursor; empty before its first sweep."""
        return _text(await self.raw.hget(self.keys.sweep, "cursor") or b"")

    async def due_s(self) -> list[float]:
        """When the delayed entries are due, by the server's clock, earliest first."""
        rows: Any = await self.raw.zrange(self.keys.delayed, 0, -1, withscores=True)
        return [due_ms / 1000.0 for _, due_ms in rows]

    async def now_s(self) -> float:
        """The server's clock."""
        reply: Any = await self.raw.time()
        return float(reply[0] + reply[1] / 1e6)

    async def read_and_die(self, count: int = 100, *, retried: bool = False) -> list[str]:
        """Take entries as a consumer named "dead", which never says another word."""
        key = self.keys.retry if retried else self.keys.stream
        await self.create()
        reply: Any = await self.raw.xreadgroup(self.keys.group, "dead", {key: ">"}, count)
        entries = reply[key.encode()][0] if isinstance(reply, dict) else [e for _, part in reply for e in part]
        return [_text(id_) for id_, _ in entries]

    async def claim(self, id_: str, consumer: str, *, idle_ms: int = 0, deliveries: int | None = None) -> None:
        """Give an entry to a consumer, silent for so long and delivered so often."""
        await self.raw.xclaim(
            self.keys.stream, self.keys.group, consumer, 0, [id_], idle=idle_ms, retrycount=deliveries, justid=True
        )

    async def create(self) -> None:
        """Create the group, where it is missing, before any consumer does."""
        for key in (self.keys.stream, self.keys.retry):
            try:
                await self.raw.xgroup_create(key, self.keys.group, "0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
