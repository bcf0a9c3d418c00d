"""A dependency of a live run: a process that serves so many calls at once, first come first served."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

from sim.declare.scenario import Scenario
from sim.evidence.dependencies import SlotUse
from sim.worlds.dependencies import CALL, REPLY, socket_of
from sim.worlds.recorder import Recorder
from sim.worlds.worker import Job, Orders, Tell, stopped


class _Call:
    def __init__(self, number: int, seconds: float, reply: Callable[[int], None]) -> None:
        self.number = number
        self.seconds = seconds
        self.asked_s = time.monotonic()
        self.reply = reply
        self.given_up = False


class _Slots:
    """Serves `capacity` calls at once, first come first served."""

    def __init__(self, capacity: int) -> None:
        self._free = capacity
        self._use = SlotUse(time.monotonic())
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

    def look(self, recorder: Recorder) -> None:
        """Note what the slots have done so far."""
        waiting = sum(not call.given_up for call in self._waiting)
        for kind, value in self._use.look(time.monotonic(), waiting):
            recorder.note(kind, value)

    async def look_every(self, seconds: float, recorder: Recorder, orders: Orders) -> None:
        """Look again and again from the start of the load on."""
        await orders.go.wait()
        await asyncio.sleep(max(0.0, -orders.now_s()))
        while True:
            self.look(recorder)
            await asyncio.sleep(seconds)

    def _serve_next(self) -> None:
        while self._free and self._waiting:
            call = self._waiting.popleft()
            if not call.given_up:
                self._free -= 1
                now_s = time.monotonic()
                self._use.begin(now_s, now_s - call.asked_s)
                self._later(call.seconds, self._served, call)

    def _served(self, call: _Call) -> None:
        self._free += 1
        self._use.end(time.monotonic())
        if not call.given_up:
            call.reply(call.number)
        self._serve_next()


async def serve_calls(job: Job, scenario: Scenario, recorder: Recorder, orders: Orders, tell: Tell) -> None:
    """Be the dependency that the job names, until the order to stop."""
    slots = _Slots(scenario.dependencies[job.service].capacity)
    server = await asyncio.start_unix_server(slots.serve, socket_of(job.records, scenario, job.service))
    looking = asyncio.create_task(slots.look_every(scenario.sample_every_s, recorder, orders))
    tell("ready")
    await stopped(orders, recorder)
    looking.cancel()
    if orders.go.is_set():
        slots.look(recorder)
    server.close()
