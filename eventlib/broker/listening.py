"""The commands of a program that listens to a stream without a group: it sees every entry and settles none."""

from collections.abc import Callable, Sequence
from typing import Any

from eventlib.broker import connections, scripts
from eventlib.broker.connections import Broker, milliseconds
from eventlib.broker.pipelined import PipelinedConnection
from eventlib.records import EVENT

PAGE_LIMIT, PAGE_BYTES = 500, 256 * 1024  # of one step back: about a millisecond of the server's time

Heard = tuple[str, bytes]  # an entry's id, and its event; empty if it has none


class ListeningCommands:
    """The commands on one stream. Blocking reads have a connection of their own, which the first read opens."""

    def __init__(self, broker: Broker, stream: str) -> None:
        self._broker = broker
        self._key = broker.keys.stream(stream)
        self._connection: PipelinedConnection | None = None

    async def last_id(self) -> str:
        """The id of the stream's last entry, which may be gone: later entries have higher ids."""
        last: bytes = await self._broker.run(scripts.LAST_ID, (self._key,))
        return last.decode()

    async def read(self, after: str, count: int, block_s: float, sink: Callable[[list[Heard]], None]) -> None:
        """Wait for up to `block_s` seconds for entries after an id, and call the sink with up to `count` of them.

        The sink is called once, as soon as the reply is here. If the read fails or is cancelled, it is not called.
        """
        if self._connection is None:
            self._connection = self._broker.open_for_reading()

        def deliver(reply: Any) -> None:
            sink([(id_.decode(), _event(fields)) for _, part in reply or () for id_, fields in part])

        options = ("COUNT", count, "BLOCK", milliseconds(block_s), "STREAMS", self._key, after)
        await self._connection.request(("XREAD", *options), block_s + connections.REPLY_TIMEOUT_S, deliver)

    async def read_back(self, newest: str, oldest: str) -> tuple[list[bytes], str | None]:
        """A page of events, newest first, and what to give as `newest` for the next page. None: this was the last."""
        last, events = await self._broker.run(
            scripts.READ_BACK, (self._key,), newest, oldest, PAGE_LIMIT, PAGE_BYTES, bulk=True
        )
        return events, f"({last.decode()}" if last else None

    async def close(self) -> None:
        """Close the connection of the blocking reads."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await self._broker.close_reading(connection)


def _event(fields: Sequence[bytes]) -> bytes:
    if len(fields) == 2 and fields[0] == EVENT:  # nearly always
        return fields[1]
    return dict(zip(fields[::2], fields[1::2], strict=True)).get(EVENT, b"")
