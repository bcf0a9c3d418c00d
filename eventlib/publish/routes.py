"""How a batch gets to the server, or to where it is safe: what a route is, and which one an outage policy asks for."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any, Protocol

from eventlib.broker.connections import Broker
from eventlib.broker.publishing import PublishCommands
from eventlib.errors import InvalidArgument
from eventlib.publish.batches import Callers
from eventlib.publish.outage import Fail, OutagePolicy, Spool, Wait
from eventlib.publish.repeating import RepeatingRoute
from eventlib.publish.spool import SpoolFile
from eventlib.publish.spooling import SpoolingRoute
from eventlib.records import NumberedBatch


class Sending(Protocol):
    """A batch on its way."""

    def __await__(self) -> Generator[Any, None, object]:
        """Wait until the batch is safe. Raises what a publish raises."""

    def cancel(self) -> object:
        """Give the batch up. It is not repeated and not written; what was sent may be appended all the same."""


class Route(Protocol):
    """How the batches of one bus get to the server, or to where they are safe."""

    @property
    def patience_s(self) -> float:
        """For how long a publish waits, since its call, for a server that does not answer."""

    @property
    def first_number(self) -> int:
        """The first number of each stream."""

    @property
    def spooled_bytes(self) -> int:
        """How many bytes wait in a file for the server."""

    @property
    def spool_bytes_max(self) -> int:
        """How many bytes the file may have; 0 where there is none."""

    def send(self, batch: NumberedBatch, callers: Callers) -> Sending:
        """Put a batch on its way. `callers` wait for it."""

    async def close(self) -> None:
        """Nothing more will be sent."""


async def route_for(broker: Broker, outage_policy: OutagePolicy) -> Route:
    """The route that the policy asks for.

    Raises:
        SpoolUnusable: the spool's file cannot be used.
        InvalidArgument: it is no policy.
    """
    commands = PublishCommands(broker)
    match outage_policy:
        case Wait(patience_s):
            return RepeatingRoute(commands, patience_s)
        case Fail():
            return RepeatingRoute(commands, 0.0)
        case Spool(path, size_bytes_max):
            file = await asyncio.to_thread(SpoolFile, Path(path), size_bytes_max, broker.keys.namespace)
            return SpoolingRoute(commands, file)
        case _:
            raise InvalidArgument("connect", f"outage_policy={outage_policy!r}; give a Wait(), Fail() or Spool(path)")
