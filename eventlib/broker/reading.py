"""Blocking reads: how a consumer gets entries, and how a reply becomes entries."""

from collections.abc import Callable, Sequence
from typing import Any

from eventlib.broker import connections, scripts
from eventlib.broker.connections import Broker, milliseconds
from eventlib.broker.keys import ATTEMPTS, ORIGIN, GroupKeys
from eventlib.broker.pipelined import Argument
from eventlib.finishing import finished
from eventlib.records import EVENT, Entry

Sink = Callable[[list[Entry]], None]  # is called with the entries of a read as soon as the reply arrives

_new = tuple.__new__  # a NamedTuple's constructor, which is Python code, calls this: twice as fast, but unchecked


class Reader:
    """The blocking reads of one consumer. Its own connection waits longer for a reply than the longest block."""

    def __init__(self, broker: Broker, group: GroupKeys, consumer: str, block_s: float) -> None:
        self._broker = broker
        self._group = group
        self._consumer = consumer
        self._block_s = block_s
        self._connection = broker.open_for_reading()

    async def read(self, count: int, sink: Sink) -> None:
        """Call the sink with up to `count` entries of the event stream and as many of the retry stream.

        The sink is called once, before the caller goes on. If no entry comes during the block, it is called with none.
        If the read is cancelled or fails, it is not called.
        """
        group, retry_stream = self._group, self._group.retry.encode()

        def deliver(reply: Any) -> None:
            sink([entry_of(stream == retry_stream, *found) for stream, part in reply or () for found in part])

        options = ("COUNT", count, "BLOCK", milliseconds(self._block_s), "STREAMS", group.retry, group.stream, ">", ">")
        await self._ask("XREADGROUP", "GROUP", group.group, self._consumer, *options, then=deliver)

    async def read_at_once(self, count: int, bytes_max: int, sink: Sink) -> None:
        """As `read`, with what is there now, and no more than about `bytes_max` bytes: one entry may exceed them."""
        group = self._group
        reading = self._broker.run(
            scripts.READ, (group.stream, group.retry), *(group.group, self._consumer, count, bytes_max), bulk=True
        )
        found = await finished(reading)  # else its consumer might leave before the server reads
        sink([entry_of(source == 2, id_, fields) for source, id_, fields in found])

    async def _ask(self, *command: Argument, then: Callable[[Any], None] | None = None) -> None:
        await self._connection.request(command, self._block_s + connections.REPLY_TIMEOUT_S, then)

    async def close(self) -> None:
        """Close its connection."""
        await self._broker.close_reading(self._connection)


class OrderedReader(Reader):
    """A `Reader` that hands out one entry of each key at a time.

    A script cannot block. So a script reads, and when no entry is left, a plain XREAD waits for a new one. A new entry
    wakes every idle consumer of the group; one of them gets it.
    """

    def __init__(self, broker: Broker, group: GroupKeys, consumer: str, block_s: float, ordered_by: str) -> None:
        super().__init__(broker, group, consumer, block_s)
        self._ordered_by = ordered_by
        self._read_up_to: tuple[str, str] | None = None  # ids in both streams, if all entries up to them were read

    async def read(self, count: int, sink: Sink) -> None:
        """As `Reader.read`."""
        group = self._group
        if self._read_up_to is not None:
            up_to, self._read_up_to = self._read_up_to, None  # None, because after an error it is not known
            blocking = ("BLOCK", milliseconds(self._block_s), "STREAMS", group.stream, group.retry, *up_to)
            await self._ask("XREAD", "COUNT", 1, *blocking)
        await self._hand_out(count, None, sink)

    async def read_at_once(self, count: int, bytes_max: int, sink: Sink) -> None:
        """As `Reader.read_at_once`."""
        await self._hand_out(count, bytes_max, sink)

    async def _hand_out(self, count: int, bytes_max: int | None, sink: Sink) -> None:
        entries, self._read_up_to = await finished(self.hand_out(count, bytes_max))  # as in `Reader.read_at_once`
        sink(entries)

    async def hand_out(self, count: int, bytes_max: int | None = None) -> tuple[list[Entry], tuple[str, str] | None]:
        """Up to `count` entries of each stream, one of each key. If all are read, also the ids up to which they are."""
        group = self._group
        more, stream_at, retry_at, found = await self._broker.run(
            scripts.READ_ORDERED,
            (group.stream, group.retry, group.delayed, group.key_queue_heads, group.key_queues),
            *(group.group, self._consumer, self._ordered_by, count, "" if bytes_max is None else bytes_max),
            bulk=True,
        )
        entries = [entry_of(source == 2, id_, fields) for source, id_, fields in found]
        return entries, None if more else (stream_at.decode(), retry_at.decode())


def entry_of(retried: bool, id_: bytes, fields: Sequence[bytes] | None, deliveries: int = 1) -> Entry:
    """An entry as the server hands it out. `fields` are names and values in turn; None if the entry was deleted."""
    id_text = id_.decode()
    if not retried and fields and len(fields) == 2 and fields[0] == EVENT:  # nearly always
        return _new(Entry, (False, id_text, id_text, fields[1], 0, deliveries))
    values = dict(zip(fields[::2], fields[1::2], strict=True)) if fields else {}
    event = values.get(EVENT)
    if not retried:
        return Entry(False, id_text, id_text, event, 0, deliveries)
    origin = values[ORIGIN].decode() if ORIGIN in values else id_text
    return Entry(True, id_text, origin, event, int(values.get(ATTEMPTS, b"0")), deliveries)
