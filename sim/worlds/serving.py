"""A dependency of a live run: a process that serves so many calls at once, first come first served."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from sim.declare.scenario import Scenario
from sim.worlds.dependencies import CALL, REPLY, socket_of
from sim.worlds.worker import Job, Orders, Tell


class _Call:
    def __init__(self, number: int, seconds: float, reply: Callable[[int], None]) -> None:
        self.number = number
        self.seconds = seconds
        self.reply = reply
        self.given_up = False


class _Slots:
    """Serves `capacity` calls at once, first come first served."""

    def __init__(self, capacity: int) -> None:
        self._free = capacity
        self._waiting: deque[_Call] = deque()
        self._later = asyncio.get_running_loop().call_later

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the calls of one process, until it closes or dies."""
        own: dict[int, _Call] = {}

        def reply(number: int) -> None:
            del own[number]
            writer.write(REPLY.pack(number))

        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    number, seconds = CALL.unpack(await reader.readexactly(CALL.size))
                    if seconds >= 0.0:
                        own[number] = call = _Call(number, seconds, reply)
                        self._waiting.append(call)
                        self._serve_next()
                    elif call_ := own.pop(number, None):
                        call_.given_up = True
        finally:
            for call in own.values():
                call.given_up = True
            writer.close()

    def _serve_next(self) -> None:
        while self._free and self._waiting:
            call = self._waiting.popleft()
            if not call.given_up:
                self._free -= 1
                self._later(call.seconds, self._served, call)

    def _served(self, call: _Call) -> None:
        self._free += 1
        if not call.given_up:
            call.reply(call.number)
        self._serve_next()


async def serve_calls(job: Job, scenario: Scenario, orders: Orders, tell: Tell) -> None:
    """Be the dependency that the job names, until the order to stop."""
    slots = _Slots(scenario.dependencies[job.service].capacity)
    server = await asyncio.start_unix_server(slots.serve, socket_of(job.records, scenario, job.service))
    tell("ready")
    await orders.stop.wait()
    server.close()
