"""How the processes of a live run call a dependency, which is a process with so many slots.

Calls go over a socket of the run, each with a number and how long it takes. A reply is the number. So a call waits for
a slot behind those of all processes, as in a database with so many connections, and nothing is asked of Redis.
"""

import asyncio
import struct
from pathlib import Path

from sim.declare.scenario import Scenario
from sim.errors import LiveRunFailed

CALL = struct.Struct("<Id")  # number and seconds; seconds below zero: the caller gives the call up
REPLY = struct.Struct("<I")


def socket_of(records: str, scenario: Scenario, name: str) -> Path:
    """The socket of a dependency, beside the file of what a process of the run notes."""
    return Path(records).parent / f"dependency-{list(scenario.dependencies).index(name)}.sock"


class DependencyClient:
    """One process's connection to a dependency. Any number of calls wait on it at once."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name = name
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._hearing = asyncio.create_task(self._hear())

    @classmethod
    async def connect(cls, records: str, scenario: Scenario, name: str) -> "DependencyClient":
        """Connect to a dependency of the run."""
        return cls(name, *await asyncio.open_unix_connection(socket_of(records, scenario, name)))

    async def call(self, seconds: float) -> None:
        """Wait for a slot, and for so long in it. A call that is cancelled is given up.

        Raises:
            LiveRunFailed: the dependency's process is gone.
        """
        self._number = (self._number + 1) % 2**32
        number, served = self._number, asyncio.get_running_loop().create_future()
        self._waiting[number] = served
        self._writer.write(CALL.pack(number, seconds))
        try:
            await served
        except asyncio.CancelledError:
            self._writer.write(CALL.pack(number, -1.0))
            raise
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Give up all calls."""
        self._hearing.cancel()
        self._writer.close()

    async def _hear(self) -> None:
        try:
            while True:
                (number,) = REPLY.unpack(await self._reader.readexactly(REPLY.size))
                if (served := self._waiting.get(number)) is not None and not served.done():
                    served.set_result(None)
        except (asyncio.IncompleteReadError, ConnectionError):
            for served in self._waiting.values():
                if not served.done():
                    served.set_exception(LiveRunFailed("live run", f"dependency {self._name} is gone"))
