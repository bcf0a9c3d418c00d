"""Single reads with the layer below the bus."""

from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.keys import GroupKeys
from eventlib.broker.reading import Reader
from eventlib.records import Entry


async def read(reader: Reader, count: int) -> list[Entry]:
    """The entries of one read."""
    brought = list[Entry]()
    await reader.read(count, brought.extend)
    return brought


async def read_as(
    broker: Broker, group: GroupKeys, consumer: str, count: int, *, block_s: float = 0.01, ordered_by: str | None = None
) -> list[Entry]:
    """The entries of one read of this consumer, on a connection of its own."""
    reader = ConsumerCommands(broker, group, consumer).reader(block_s, ordered_by)
    try:
        return await read(reader, count)
    finally:
        await reader.close()
