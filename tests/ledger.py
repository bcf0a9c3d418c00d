"""What the server itself knows about one group: who holds what, and a way to meddle with it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import redis.asyncio as redis

from eventlib.keys import GroupKeys


class Pending(NamedTuple):
    """One entry that was delivered and not acknowledged."""

    id: str
    consumer: str
    idle_ms: int
    deliveries: int


@dataclass
class Ledger:
    """Reads and alters a group behind the library's back."""

    raw: redis.Redis
    keys: GroupKeys

    async def add(self, **fields: bytes | str) -> str:
        """Append an entry that the library did not write."""
        return _text(await self.raw.xadd(self.keys.stream, fields))  # type: ignore[arg-type]  # invariant dict

    async def events(self) -> list[dict[bytes, bytes]]:
        """The fields of everything in the stream."""
        return [fields for _, fields in await self.raw.xrange(self.keys.stream)]

    async def pending(self, *, retried: bool = False) -> list[Pending]:
        key = self.keys.retry if retried else self.keys.stream
        rows: list[dict[str, Any]] = await self.raw.xpending_range(key, self.keys.group, "-", "+", 1000)
        return [
            Pending(_text(r["message_id"]), _text(r["consumer"]), r["time_since_delivered"], r["times_delivered"])
            for r in rows
        ]

    async def consumers(self) -> set[str]:
        """The names that the group remembers, on the stream or on its retry stream."""
        rows: list[dict[str, Any]] = []
        for key in (self.keys.stream, self.keys.retry):
            rows += await self.raw.xinfo_consumers(key, self.keys.group)
        return {_text(row["name"]) for row in rows}

    async def cursor(self) -> str:
        """The group's durable cursor; empty before its first sweep."""
        return _text(await self.raw.hget(self.keys.sweep, "cursor") or b"")  # type: ignore[misc]  # sync or async

    async def read_and_die(self, count: int = 100, *, retried: bool = False) -> list[str]:
        """Take entries as a consumer named "dead", which never says another word."""
        key = self.keys.retry if retried else self.keys.stream
        await self._create(key)
        reply: Any = await self.raw.xreadgroup(self.keys.group, "dead", {key: ">"}, count)
        entries = reply[key.encode()][0] if isinstance(reply, dict) else [e for _, part in reply for e in part]
        return [_text(id_) for id_, _ in entries]

    async def claim(self, id_: str, consumer: str, *, idle_ms: int = 0, deliveries: int | None = None) -> None:
        """Give an entry to a consumer, silent for so long and delivered so often."""
        arguments = ["IDLE", idle_ms] + ([] if deliveries is None else ["RETRYCOUNT", deliveries])
        await self.raw.execute_command(  # type: ignore[no-untyped-call]  # redis-py
            "XCLAIM", self.keys.stream, self.keys.group, consumer, 0, id_, *arguments, "JUSTID"
        )

    async def _create(self, key: str) -> None:
        try:
            await self.raw.xgroup_create(key, self.keys.group, "0", mkstream=True)
        except redis.ResponseError as error:
            assert "BUSYGROUP" in str(error)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
