"""The commands of pausing: one group on one stream."""

import json

from eventlib.broker import scripts
from eventlib.broker.connections import Broker
from eventlib.broker.keys import GroupKeys
from eventlib.records import PauseRecord

RECORDS_KEPT = 100


class PauseCommands:
    """The commands of an operator who pauses a group. All are safe to repeat.

    `retention` is the key of what the stream keeps, where it is a stream of events.
    """

    def __init__(self, broker: Broker, group: GroupKeys, retention: str | None) -> None:
        self._broker = broker
        self._group = group
        self._retention = () if retention is None else (retention,)

    async def put(self, paused: bool, by: str, reason: str) -> bool:
        """Pause the group, or let it go on. False if it is so already."""
        group = self._group
        at = (group.sweep, group.pauses, *self._retention)
        return bool(await self._broker.run(scripts.PAUSE, at, int(paused), by, reason, RECORDS_KEPT, group.group))

    async def paused(self) -> bool:
        """Whether the group is paused."""
        return await self._broker.ask("HGET", self._group.sweep, "paused") is not None

    async def records(self) -> list[PauseRecord]:
        """Who paused the group and let it go on, the newest first."""
        rows = map(json.loads, await self._broker.ask("LRANGE", self._group.pauses, 0, -1))
        return [PauseRecord(row["act"], row["at"] / 1000.0, row["by"], row["reason"]) for row in rows]
