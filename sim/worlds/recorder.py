"""What the processes of a live run note, each in a file of its own, with one write for each row.

What was written is there even after SIGKILL.
"""

import asyncio
import os
import struct
import time

from eventlib import Delivery, Observation
from sim.declare.scenario import Scenario
from sim.errors import LiveRunFailed, SimError
from sim.evidence.history import KIND, ROW
from sim.worlds.messages import MessageTask, Numbered, dispatch_number, message_of, numbered

_PACK = struct.Struct("<idBhhhqhdd").pack
assert struct.calcsize("<idBhhhqhdd") == ROW.itemsize
_NAN = float("nan")


class Recorder:
    """Appends history rows to a file. Times are monotonic seconds; the owner of the run subtracts its time 0 later.

    A row that cannot be written ends the run: without it, what was handled would look lost. `failed` is done then, and
    where own handlers do what no scenario can tell.
    """

    def __init__(self, file: str, scenario: Scenario, service: str, consumer: int) -> None:
        self.task: MessageTask | None = None  # what each message is, at a task queue
        self.held_s: dict[Delivery, float] = {}  # for how long own handlers held the loop, until their end is noted
        self.failed: asyncio.Future[SimError] = asyncio.get_running_loop().create_future()
        try:
            self.file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise _not_written(error) from error
        self._service = list(scenario.services).index(service) if service else -1
        self._consumer = consumer
        self._consumes = scenario.services[service].consumes if service else ""
        self._overslept: dict[tuple[str, int, int], float] = {}
        self._events = {event: code for code, event in enumerate(scenario.flow.paths)}

    def add(self, kind: str, event: str, message: Numbered, attempt: int = 0, value: float = _NAN) -> None:
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
            self.fail(_not_written(error))
            raise _not_written(error) from error

    def fail(self, error: SimError) -> None:
        """End the run with this error."""
        if not self.failed.done():
            self.failed.set_result(error)

    def note_cpu(self) -> None:
        """Write how much processor time this process has used.

        Raises:
            LiveRunFailed: it could not be written.
        """
        self.note("cpu", time.process_time())

    def note(self, kind: str, value: float = _NAN) -> None:
        """Write a row about no message.

        Raises:
            LiveRunFailed: it could not be written.
        """
        self._write(KIND[kind], self._service, self._consumer, -1, -1, 0, _NAN, value)

    def overslept(self, event: str, index: int, attempt: int, by_s: float) -> None:
        """A handler slept so much longer than it was asked to: that goes into the row that it ends with."""
        self._overslept[event, index, attempt] = by_s

    def check(self) -> None:
        """Raise what ended the run. `observe` raised it too, but the library only logs that.

        Raises:
            LiveRunFailed: a row could not be written.
        """
        if self.failed.done():
            raise self.failed.result()

    def observe(self, observation: Observation) -> None:
        kind, delivery = observation.kind, observation.delivery
        event = delivery.envelope.event if delivery.envelope is not None else None
        if self.task is not None and event is not None:
            message, attempt = message_of(self.task, event), delivery.attempt
            started = kind == "started"
            value = dispatch_number(delivery.entry.id) if started else self._value(delivery, message, attempt)
            self.add(kind, self._consumes, message, attempt, value)
        elif (found := _message(delivery, self._consumes)) is not None:
            value = self._value(delivery, found, delivery.attempt) if kind in ("handled", "failed") else _NAN
            self.add(kind, self._consumes, found, delivery.attempt, value)

    def _value(self, delivery: Delivery, message: Numbered, attempt: int) -> float:
        """How long a handler held the event loop, or how much longer than asked it slept, where that is known."""
        if self.held_s:
            return self.held_s.pop(delivery, _NAN)
        return self._overslept.pop((self._consumes, message.index, attempt), _NAN) if self._overslept else _NAN


def _message(delivery: Delivery, consumed: str) -> Numbered | None:
    """The message that a delivery brings. None if it brings something else."""
    if delivery.envelope is None or not (spec := delivery.envelope.event.event_spec) or spec.type != consumed:
        return None
    return numbered(delivery.envelope.event, delivery.envelope)


def _not_written(error: OSError) -> LiveRunFailed:
    reason = error.strerror or error
    return LiveRunFailed("evidence", f"a row could not be written: {reason}; free the disk, or name another by TMPDIR")
