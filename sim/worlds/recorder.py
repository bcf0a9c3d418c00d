"""What the processes of a live run note, each in a file of its own, with one write for each row.

What was written is there even after SIGKILL.
"""

import asyncio
import os
import struct
import time

from eventlib import Observation
from sim.declare.scenario import Scenario
from sim.errors import LiveRunFailed
from sim.evidence.history import KIND, ROW
from sim.worlds.messages import MessageSent, MessageTask, dispatch_number, message_of

_PACK = struct.Struct("<idBhhhqhdd").pack
assert struct.calcsize("<idBhhhqhdd") == ROW.itemsize
_NAN = float("nan")


class Recorder:
    """Appends history rows to a file. Times are monotonic seconds; the owner of the run subtracts its time 0 later.

    A row that cannot be written ends the run: without it, what was handled would look lost. `failed` is done then.
    """

    def __init__(self, file: str, scenario: Scenario, service: str, consumer: int) -> None:
        self.task: MessageTask | None = None  # what each message is, at a task queue
        self.failed: asyncio.Future[OSError] = asyncio.get_running_loop().create_future()
        try:
            self.file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise _not_written(error) from error
        self._service = list(scenario.services).index(service) if service else -1
        self._consumer = consumer
        self._consumes = scenario.services[service].consumes if service else ""
        self._overslept: dict[tuple[str, int, int], float] = {}
        self._events = {event: code for code, event in enumerate(scenario.flow.paths)}

    def add(self, kind: str, event: str, message: MessageSent, attempt: int = 0, value: float = _NAN) -> None:
        """Write a row.

        Raises:
            LiveRunFailed: it could not be written.
        """
        row = (KIND[kind], self._service, self._consumer, self._events[event], message.index, attempt)
        self._write(*row, message.intended_s, value)

    def _write(self, *row: float) -> None:
        unwritten = _PACK(0, time.monotonic(), *row)
        try:
            while unwritten:  # a disk that is about to be full takes a part of a row
                unwritten = unwritten[os.write(self.file, unwritten) :]
        except OSError as error:
            if not self.failed.done():
                self.failed.set_result(error)
            raise _not_written(error) from error

    def note_cpu(self) -> None:
        """Write how much processor time this process has used.

        Raises:
            LiveRunFailed: it could not be written.
        """
        self._write(KIND["cpu"], self._service, self._consumer, -1, -1, 0, _NAN, time.process_time())

    def overslept(self, event: str, index: int, attempt: int, by_s: float) -> None:
        """A handler slept so much longer than it was asked to: that goes into the row that it ends with."""
        self._overslept[event, index, attempt] = by_s

    def check(self) -> None:
        """Raise the error of a row that could not be written. `observe` raised it too, but the library only logs that.

        Raises:
            LiveRunFailed: a row could not be written.
        """
        if self.failed.done():
            raise _not_written(self.failed.result())

    def observe(self, observation: Observation) -> None:
        kind, delivery = observation.kind, observation.delivery
        event = delivery.envelope.event if delivery.envelope is not None else None
        if self.task is not None and event is not None:
            message, attempt = message_of(self.task, event), delivery.attempt
            started = kind == "started"
            value = dispatch_number(delivery.entry.id) if started else self._value(self._consumes, message, attempt)
            self.add(kind, self._consumes, message, attempt, value)
        elif isinstance(event, MessageSent) and event.event_spec:
            type_, attempt = event.event_spec.type, delivery.attempt
            self.add(kind, type_, event, attempt, self._value(type_, event, attempt))

    def _value(self, event: str, message: MessageSent, attempt: int) -> float:
        return self._overslept.pop((event, message.index, attempt), _NAN) if self._overslept else _NAN


def _not_written(error: OSError) -> LiveRunFailed:
    reason = error.strerror or error
    return LiveRunFailed("evidence", f"a row could not be written: {reason}; free the disk, or name another by TMPDIR")
