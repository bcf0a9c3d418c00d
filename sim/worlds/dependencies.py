"""How the processes of a live run call a dependency, which is a process with so many slots.

Calls go over a socket of the run, each with a number and how long it takes. A reply is the number. So a call waits for
a slot behind those of all processes, as in a database with so many connections, and nothing is asked of Redis.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from sim.declare.faults.kind import OutWindow, out_at
from sim.declare.scenario import Scenario
from sim.errors import LiveRunFailed

CALL = struct.Struct("<Id")  # number and seconds; seconds below zero: the caller gives the call up
REPLY = struct.Struct("<I")


def socket_of(records: str, scenario: Scenario, name: str) -> Path:
    """The socket of a dependency, beside the file of what a process of the run notes."""
    return Path(records).parent / f"dependency-{list(scenario.dependencies).index(name)}.sock"


class DependencyClient:
    """One process's connection to a dependency. Any number of calls wait on it at once."""

    def __init__(
        self,
        name: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        out: Sequence[OutWindow],
        now_s: Callable[[], float],
    ) -> None:
        self._name = name
        self._out = out
        self._now_s = now_s
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._hearing = asyncio.create_task(self._hear())

    @classmethod
    async def connect(
        cls, records: str, scenario: Scenario, name: str, now_s: Callable[[], float]
    ) -> "DependencyClient":
        """Connect to a dependency of the run. `now_s` is the time of the run: at some, faults take it out of order."""
        out = [window for fault in scenario.faults for window in fault.out_windows(name)]
        return cls(name, *await asyncio.open_unix_connection(socket_of(records, scenario, name)), out, now_s)

    async def call(self, seconds: float) -> None:
        """Wait for a slot, and for so long in it. A call that is cancelled is given up.

        Raises:
            ConnectionRefusedError: a fault has taken it out of order.
            LiveRunFailed: the dependency's process is gone.
        """
        while self._out and (window := out_at(self._out, self._now_s())) is not None:
            if not window.hangs:
                raise ConnectionRefusedError(f"the scenario has taken {self._name} out of order")
            await asyncio.sleep(window.until_s - self._now_s())
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
