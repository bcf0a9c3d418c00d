"""Notices: a program that waits for something to happen reads the ids of what it happened to."""

from eventlib.broker import connections
from eventlib.broker.connections import Broker, milliseconds
from eventlib.broker.pipelined import PipelinedConnection


class Watch:
    """Reads ids from a stream, from now on. It has a connection of its own, because a read blocks."""

    def __init__(self, broker: Broker, key: str, field: bytes) -> None:
        self._broker = broker
        self._key = key
        self._field = field
        self._at: bytes | None = None
        self._connection: PipelinedConnection = broker.open_for_reading()

    async def begin(self) -> None:
        """Hear of all that is added after this call."""
        if self._at is None:
            last = await self._broker.ask("XREVRANGE", self._key, "+", "-", "COUNT", 1)
            self._at = last[0][0] if last else b"0-0"

    async def next(self, block_s: float) -> list[str]:
        """The ids that were added since. None for `block_s` seconds: an empty list."""
        await self.begin()
        command = ("XREAD", "COUNT", 1000, "BLOCK", milliseconds(block_s), "STREAMS", self._key, self._at or b"")
        reply = await self._connection.request(command, block_s + connections.REPLY_TIMEOUT_S)
        ids: list[str] = []
        for _, entries in reply or ():
            for entry_id, fields in entries:
                self._at = entry_id
                ids += dict(zip(fields[::2], fields[1::2], strict=True)).get(self._field, b"").decode().split()
        return ids

    async def close(self) -> None:
        """Close its connection."""
        await self._broker.close_reading(self._connection)
