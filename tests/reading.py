"""Single reads with the layer below the bus."""

from eventlib.broker.connections import Broker
from eventlib.broker.consuming import ConsumerCommands
from eventlib.broker.keys import GroupKeys
from eventlib.broker.reading import Reader
from eventlib.records import Entry
from eventlib.testing import Inspector, eventually


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


async def left_long_ago(inspector: Inspector, count: int = 100, *, retried: bool = False) -> list[str]:
    """Take entries as a consumer that was killed a minute ago, which is longer than a lease. Returns their ids."""
    ids = await inspector.read_and_die(count, retried=retried)
    key = inspector.keys.retry if retried else inspector.keys.stream
    await inspector.raw.xclaim(key, inspector.keys.group, "dead", 0, ids, idle=60_000, justid=True)  # type: ignore[arg-type]  # invariant list
    return ids


async def server_time_s(broker: Broker) -> float:
    """The time by the server's clock."""
    seconds, microseconds = await broker.ask("TIME")
    return int(seconds) + int(microseconds) / 1e6


async def server_passes(broker: Broker, seconds: float) -> None:
    """Wait until the server's clock has gone on by so many seconds: what it counts as a time has passed then."""
    until_s = await server_time_s(broker) + seconds

    async def passed() -> bool:
        return await server_time_s(broker) > until_s

    await eventually(passed)
